"""The golden signals of a service, taken from its counters every few seconds: traffic, errors, latency, saturation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drivetrain.monitoring.window import Signal
from drivetrain.serving.counters import Totals, quantile_s, totals
from drivetrain.serving.journal import folder_of
from drivetrain.store.record import now

if TYPE_CHECKING:
    from drivetrain.store.store import Store

EVERY_S = 5.0


class SignalReader:
    """Turns counters, which only grow, into what happened since the last look."""

    def __init__(self, store: Store, service: str) -> None:
        self._folder, self._service = folder_of(store, service), service
        self._before = totals(self._folder)
        self._at = time.monotonic()

    def read(self) -> Signal | None:
        """Return the signals since the last time; None when that is too short ago."""
        seconds = time.monotonic() - self._at
        if seconds < EVERY_S:
            return None
        found = totals(self._folder)
        signal = signal_between(self._before, found, service=self._service, seconds=seconds)
        self._before, self._at = found, time.monotonic()
        return signal


def signal_between(before: Totals, after: Totals, *, service: str, seconds: float) -> Signal:
    """Return what the counters say of the time between two looks."""
    latency = [new - old for old, new in zip(before.latency, after.latency, strict=True)]
    return Signal(
        service=service,
        at=now(),
        seconds=seconds,
        requests=after.requests - before.requests,
        rows=after.rows - before.rows,
        errors=after.answered_5xx - before.answered_5xx,
        latency_p50_ms=quantile_s(latency, 0.5) * 1000,
        latency_p99_ms=quantile_s(latency, 0.99) * 1000,
        busy_share=min(1.0, (after.busy_s - before.busy_s) / seconds / max(after.workers, 1)),
        workers=after.workers,
        known=after.cache_known - before.cache_known,
    )

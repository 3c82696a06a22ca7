"""The golden signals of a service: traffic, errors, latency and saturation, every few seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.monitoring.window import Signal
from drivetrain.serving.counters import Totals, quantile_s, totals
from drivetrain.serving.journal import folder_of
from drivetrain.store.record import now

if TYPE_CHECKING:
    from datetime import datetime

    from drivetrain.store.store import Store

EVERY_S = 5.0
# A service that nobody asks needs no row every few seconds.
IDLE_EVERY_S = 60.0


class Signals:
    """Reads a service's counters and writes what they gained since the last time."""

    def __init__(self, store: Store, service: str) -> None:
        self._store, self._service = store, service
        self._folder = folder_of(store, service)
        self._at = now()
        self._before = totals(self._folder)

    def tick(self) -> Signal | None:
        """Write a signal when it is time for one, and return it."""
        moment = now()
        seconds = (moment - self._at).total_seconds()
        if seconds < EVERY_S:
            return None
        sums = totals(self._folder)
        if sums.requests == self._before.requests and seconds < IDLE_EVERY_S:
            return None
        signal = signal_between(self._service, self._before, sums, at=moment, seconds=seconds)
        self._at, self._before = moment, sums
        if not (signal.requests or signal.workers):
            return None
        self._store.ledger.write(signal)
        return signal


def signal_between(service: str, before: Totals, after: Totals, *, at: datetime, seconds: float) -> Signal:
    """Return what the workers of a service did between two readings of their counters.

    >>> signal = signal_between("late", Totals(), Totals(answered_2xx=20, workers=1), at=now(), seconds=5.0)
    >>> signal.requests, signal.errors
    (20, 0)
    """
    # Sums fall when someone has emptied the folder; what they held before is then no base.
    base = before if after.requests >= before.requests else Totals()
    latency = [new - old for new, old in zip(after.latency, base.latency, strict=True)]
    busy_s = max(0.0, after.busy_s - base.busy_s)
    return Signal(
        service=service,
        at=at,
        seconds=seconds,
        requests=after.requests - base.requests,
        rows=after.rows - base.rows,
        errors=after.answered_5xx - base.answered_5xx,
        latency_p50_ms=quantile_s(latency, 0.5) * 1000,
        latency_p99_ms=quantile_s(latency, 0.99) * 1000,
        busy_share=min(1.0, busy_s / (seconds * max(after.workers, 1))) if seconds else 0.0,
        workers=after.workers,
    )

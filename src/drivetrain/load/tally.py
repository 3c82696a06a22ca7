"""Counts what becomes of requests while a test goes on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drivetrain.load.histogram import Histogram
from drivetrain.load.report import QUANTILES, Bar, Progress, Report, Slice

if TYPE_CHECKING:
    from drivetrain.load.plan import Plan

_BARS = 60
_ID = re.compile(rb'"id":"(pred-[0-9a-z]{18})"')


class _Slice:
    __slots__ = ("answered", "failed", "missed", "times", "unanswered")

    def __init__(self) -> None:
        self.times = Histogram()
        self.answered = self.failed = self.missed = self.unanswered = 0


class Tally:
    """What was seen from the moment `begin` on; requests that were due before it are left out."""

    def __init__(self, plan: Plan, begin: float) -> None:
        self.plan, self.begin = plan, begin
        self.requests = self.failed = 0
        self.outcomes: dict[str, int] = {}
        self.examples: dict[str, str] = {}
        self.late = Histogram()
        self.received_bytes = self.connections_opened = 0
        # When each prediction was asked for, and came, by its id.
        self.times: dict[str, tuple[float, float]] = {}
        self._last = begin
        self._slices: dict[int, _Slice] = {}

    def sent_late(self, seconds: float, due: float) -> None:
        """Count by how much the tool itself was late."""
        if due >= self.begin:
            self.late.add(seconds)

    def ended(self, outcome: str, due: float, now: float, *, is_good: bool, example: str = "") -> None:
        """Count a request that has ended."""
        if due < self.begin:
            return
        self.requests += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self._last = now
        took = now - due
        asked, told = self._slice(due), self._slice(now)
        if is_good:
            told.answered += 1
            asked.times.add(took)
            if took > self.plan.limit_s:
                asked.missed += 1
            return
        self.failed += 1
        told.failed += 1
        asked.missed += 1
        if outcome == "timeout":
            asked.times.add(took)
        else:
            asked.unanswered += 1
        if example and outcome not in self.examples:
            self.examples[outcome] = example

    def named(self, answer: bytes, due: float, now: float) -> None:
        """Note when a prediction came, by the id in its answer."""
        found = _ID.search(answer) if due >= self.begin else None
        if found is not None:
            self.times[found[1].decode()] = (due, now)

    def _slice(self, moment: float) -> _Slice:
        number = int((moment - self.begin) / self.plan.slice_s)
        found = self._slices.get(number)
        if found is None:
            found = self._slices[number] = _Slice()
        return found

    def progress(self, now: float) -> Progress:
        """Return how far the test has come."""
        elapsed = now - self.begin
        last = self._slices.get(int(elapsed / self.plan.slice_s) - 1)
        answered = self.requests - self.failed
        return Progress(
            elapsed_s=elapsed,
            requests=self.requests,
            failed=self.failed,
            requests_per_s=answered / elapsed if elapsed > 0 else 0.0,
            p99_ms=last.times.quantile(0.99) * 1e3 if last else 0.0,
        )

    def report(self, *, until: float, processor_s: float, is_interrupted: bool) -> Report:
        """Return all that was seen; `until` is when the last request was due."""
        seconds = max(until, self._last) - self.begin
        answered = self.requests - self.failed
        times = Histogram().take(each.times for each in self._slices.values())
        return Report(
            seconds=max(seconds, 0.0),
            requests=self.requests,
            answered=answered,
            failed=self.failed,
            requests_per_s=answered / seconds if seconds > 0 else 0.0,
            outcomes=dict(sorted(self.outcomes.items(), key=lambda each: -each[1])),
            examples=self.examples,
            mean_ms=times.mean() * 1e3,
            **{name: times.quantile(share) * 1e3 for name, share in QUANTILES.items()},
            max_ms=times.most * 1e3,
            bars=[Bar(from_ms=low * 1e3, to_ms=high * 1e3, count=count) for low, high, count in times.bars(_BARS)],
            slices=self._told(),
            connections_opened=self.connections_opened,
            received_bytes=self.received_bytes,
            late_p99_ms=self.late.quantile(0.99) * 1e3,
            late_max_ms=self.late.most * 1e3,
            processor_share=processor_s / seconds if seconds > 0 else 0.0,
            is_interrupted=is_interrupted,
        )

    def _told(self) -> list[Slice]:
        empty = _Slice()
        slices = [self._slices.get(number, empty) for number in range(max(self._slices, default=-1) + 1)]
        return [
            Slice(
                at_s=number * self.plan.slice_s,
                answered=each.answered,
                failed=each.failed,
                asked=len(each.times) + each.unanswered,
                missed=each.missed,
                p50_ms=each.times.quantile(0.5) * 1e3,
                p99_ms=each.times.quantile(0.99) * 1e3,
            )
            for number, each in enumerate(slices)
        ]

"""A histogram of times, from a microsecond to hours, in steps of one percent."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Buckets grow by 1 %, so that what is read back is at most 0.5 % off, whatever the time.
_STEPS = 1 / log(1.01)
_LEAST_S = 1e-6


class Histogram:
    """Counts times by bucket: of constant size, however many they are.

    >>> times = Histogram()
    >>> for milliseconds in range(1, 101):
    ...     times.add(milliseconds / 1000)
    >>> round(times.quantile(0.5), 3), times.most, len(times)
    (0.05, 0.1, 100)
    """

    __slots__ = ("_total", "counts", "least", "most", "total_s")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.total_s = 0.0
        self.least, self.most = float("inf"), 0.0
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def add(self, seconds: float) -> None:
        """Count one time."""
        place = int(log(seconds / _LEAST_S) * _STEPS) if seconds > _LEAST_S else 0
        self.counts[place] = self.counts.get(place, 0) + 1
        self._total += 1
        self.total_s += seconds
        if seconds > self.most:
            self.most = seconds
        if seconds < self.least:
            self.least = seconds

    def take(self, others: Iterable[Histogram]) -> Histogram:
        """Count all that others have counted, and return this one."""
        for other in others:
            for place, count in other.counts.items():
                self.counts[place] = self.counts.get(place, 0) + count
            self._total += other._total
            self.total_s += other.total_s
            self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        return self

    def mean(self) -> float:
        """Return the mean in seconds; 0 where nothing was counted."""
        return self.total_s / self._total if self._total else 0.0

    def quantile(self, share: float) -> float:
        """Return the time in seconds within which a share of all lies; 0 where nothing was counted."""
        if not self._total:
            return 0.0
        wanted, seen = share * self._total, 0
        for place, count in sorted(self.counts.items()):
            seen += count
            if seen >= wanted:
                return min(max(_middle(place), self.least), self.most)
        return self.most

    def above(self, seconds: float) -> int:
        """Return how many were above a time."""
        return sum(count for place, count in self.counts.items() if _middle(place) > seconds)

    def bars(self, most: int) -> Iterator[tuple[float, float, int]]:
        """Yield at most so many bars that touch: from and to, in seconds, and how many lie between."""
        if not self._total:
            return
        first, last = min(self.counts), max(self.counts) + 1
        width = -((first - last) // most)
        for start in range(first, last, width):
            count = sum(self.counts.get(place, 0) for place in range(start, start + width))
            yield _LEAST_S * exp(start / _STEPS), _LEAST_S * exp((start + width) / _STEPS), count


def _middle(place: int) -> float:
    return _LEAST_S * exp((place + 0.5) / _STEPS)

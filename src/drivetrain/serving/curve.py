"""How long a batch takes by its number of rows, learnt from the batches that a worker answers."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# So many batches of about one size are remembered: a change is followed after half as many, a lone outlier never.
RECENT = 15
# Fewer than these tell nothing by themselves.
FEW = 3
# Quick batches are many; what is known of them is worked out anew at such intervals.
QUICK_S, QUICK_EVERY_S = 0.001, 0.01
# Until one batch has been measured, each is taken to be this slow, so that a thread of its own is worth it.
GUESS_S = 1.0
# A size that was not seen for so long is taken to have changed as the others have.
STALE_S = 1.0
# Where a guess was the beginning: more rows than were tried are tried, up to so many times as many; and, where they
# were slow, again after so long.
GROWTH, AGAIN_S = 8, 10.0


class _Size:
    """Batches of about one size: from a power of two to below the next."""

    __slots__ = ("anchor", "at", "likely_s", "new", "rows", "times", "typical_s")

    def __init__(self, rows: float, seconds: float, anchor: float) -> None:
        self.rows, self.typical_s, self.likely_s = rows, seconds, seconds
        self.times: deque[float] = deque(maxlen=RECENT)
        self.new, self.at, self.anchor = 0, float("-inf"), anchor


class Curve:
    """The time of a batch as a function of its rows, kept in step with what is measured.

    `known` are seconds by rows to begin with; without any, the curve is a guess until a first batch tells how slow
    everything is, and what more rows take is then found out by trying (`worth_trying`).

    For each size there are two figures of its last fifteen batches: the typical time, which is the mean of the middle
    half, and the likely worst, which one batch in eight exceeds. In between it is linear. A size that has not come up
    for a while is assumed to have become slower or quicker by the same factor as the sizes that have.

    >>> curve = Curve({1: 0.010, 64: 0.073})
    >>> curve.typical_s(32)
    0.041
    >>> curve.rows_within(0.050, most=256)
    41
    """

    def __init__(self, known: Mapping[int, float], *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # How slow everything is, compared with when the curve began.
        self._pace = 1.0
        self.is_guess = self._began_as_guess = not known
        begun = known or {1: GUESS_S, 64: GUESS_S}
        self._sizes = {rows.bit_length(): _Size(rows, seconds, 1.0) for rows, seconds in begun.items()}
        # (rows, typical seconds, likely worst seconds), by rows.
        self._points: list[tuple[float, float, float]] = []
        self.changes = 0
        self._draw(clock())

    def add(self, rows: int, seconds: float) -> None:
        """Take in that a batch of so many rows took so long."""
        size = self._sizes.get(rows.bit_length())
        if size is None:
            size = self._sizes[rows.bit_length()] = _Size(rows, self.typical_s(rows), self._pace)
        size.times.append(seconds)
        size.rows += (rows - size.rows) * 0.25
        size.new += 1
        if seconds > QUICK_S or self._clock() - size.at >= QUICK_EVERY_S:
            self._learn(size)

    def _learn(self, size: _Size) -> None:
        now = self._clock()
        if now - size.at > STALE_S and len(size.times) > size.new:  # what it remembers beside the new ones is old
            size.times = deque(list(size.times)[-size.new :], maxlen=RECENT)
        if self.is_guess:  # nothing that was guessed counts any longer
            self.is_guess, self._sizes = False, {round(size.rows).bit_length(): size}
        is_new = self._began_as_guess and len(size.times) == size.new
        size.new, size.at = 0, now
        # One batch that had to wait for the processor tells nothing: what was known counts as the others.
        known = [] if self._began_as_guess else [self.typical_s(size.rows)] * (FEW - len(size.times))
        times = sorted([*size.times, *known])
        count = len(times)
        cut = max(count // 4, bool(known), count == FEW)
        middle = times[cut : count - cut]
        typical_s = max(sum(middle) / len(middle), 1e-7)
        if not is_new:
            self._pace = size.anchor * typical_s / max(size.typical_s, 1e-7)
        size.typical_s, size.likely_s, size.anchor = typical_s, times[-1 - max(bool(known), count // 8)], self._pace
        self._draw(now)

    def _draw(self, now: float) -> None:
        points = []
        likely_s = 0.0
        for _, size in sorted(self._sizes.items()):
            factor = self._pace / size.anchor if now - size.at > STALE_S else 1.0
            likely_s = max(likely_s, size.likely_s * factor)  # more rows never take less
            points.append((size.rows, size.typical_s * factor, likely_s))
        self._points = points
        self.changes += 1

    def typical_s(self, rows: float) -> float:
        """Return how long a batch takes as a rule."""
        return self._at(rows, 1)

    def likely_s(self, rows: float) -> float:
        """Return what a batch hardly ever takes longer than."""
        return self._at(rows, 2)

    def rows_within(self, seconds: float, *, most: int) -> int:
        """Return how many rows are hardly ever answered later than in so many seconds: 1 to `most`."""
        if self._at(most, 2) <= seconds:
            return most
        low, high = 1, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._at(middle, 2) <= seconds else (low, middle)
        return low

    def worth_trying(self, rows: int, *, most: int, risk_s: float) -> int:
        """Return how many rows to answer at once, up to `most`, where by the curve `rows` are quick enough.

        Of a model that was measured before, as many. Of another one they are more, as long as no batches tell
        otherwise: at worst each row costs what it does now, and then they take `risk_s`, or twice as long as now.

        >>> curve = Curve({})
        >>> curve.add(1, 0.050)
        >>> curve.worth_trying(1, most=256, risk_s=0.2)
        4
        """
        if not self._began_as_guess or self.is_guess:
            return rows
        rows = min(rows, GROWTH * max(1, round(max(size.rows for size in self._sizes.values()))))
        beyond = [size for size in self._sizes.values() if size.rows > rows and size.times]
        if sum(len(size.times) for size in beyond) >= FEW and self._clock() - max(e.at for e in beyond) < AGAIN_S:
            return rows
        at_worst = min(GROWTH * rows, int(risk_s * rows / self.likely_s(rows)))
        return min(most, max(2 * rows, at_worst))

    def measured(self) -> dict[int, float]:
        """Return the typical seconds by rows, as they are measured now."""
        return {round(rows): typical_s for rows, typical_s, _ in self._points}

    def _at(self, rows: float, figure: int) -> float:
        points = self._points
        first = points[0]
        if rows <= first[0]:
            return first[figure]
        if len(points) == 1:  # nothing tells yet what is the same for all rows: assume the worst, that nothing is
            return first[figure] * rows / first[0]
        before = first
        for after in points[1:]:
            if rows <= after[0] or after is points[-1]:
                break
            before = after
        slope = (after[figure] - before[figure]) / (after[0] - before[0])
        if rows > after[0]:
            return after[figure] + max(slope, 0.0) * (rows - after[0])
        return before[figure] + slope * (rows - before[0])

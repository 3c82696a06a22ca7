"""The points that a step logs: buffered in memory, written every second while it works, and all of them at its end.

A point is one row, `(curve, step, value)`, of a table without row ids; which metric of which run a curve is says its
`Figure`. Many rows go in with one statement: SQLite then works on them without Python's lock, beside the step.
"""

from __future__ import annotations

import os
import threading
import time
from math import inf
from operator import index
from typing import TYPE_CHECKING, Any

from drivetrain.errors import StoreError, UsageError
from drivetrain.pipeline.figure import Figure
from drivetrain.system.caller import caller

if TYPE_CHECKING:
    from drivetrain.store.ledger import Ledger
    from drivetrain.store.record import Record
    from drivetrain.system.part import Job

# How often the points of running steps are written, so that they can be watched.
FLUSH_S = 1.0
# With more points than these waiting, whoever logs the next one writes them first: memory stays bounded.
MOST_WAITING = 200_000
LONGEST_NAME = 200
_ROWS_A_STATEMENT = 2000
_WHOLE = 1 << 63
_TABLE = (
    "CREATE TABLE IF NOT EXISTS point (curve INTEGER NOT NULL, step INTEGER NOT NULL, value REAL, "
    "PRIMARY KEY (curve, step)) WITHOUT ROWID"
)
_guard = threading.Lock()
_open: set[Points] = set()
_flusher: threading.Thread | None = None


class _Curve:
    """One metric of one step while it is logged."""

    __slots__ = ("high", "last", "low", "next", "number", "pairs", "top")

    def __init__(self) -> None:
        self.number: int | None = None
        # Step and value in turn, as they are bound.
        self.pairs: list[float] = []
        self.next = 0
        self.top, self.last, self.low, self.high = -_WHOLE, float("nan"), inf, -inf

    def take_in(self, steps: list[float], values: list[float]) -> None:
        """Bring the last, least and greatest value up to more points."""
        top = max(steps)
        if top >= self.top:
            self.top, self.last = int(top), values[len(steps) - 1 - steps[::-1].index(top)]
        known = [value for value in values if value == value]
        if known:
            self.low, self.high = min(self.low, min(known)), max(self.high, max(known))


class Points:
    """The points of one step of one run. Any thread may log.

    A point without a step is counted on from the one before; the same step again takes the place of the earlier
    point. A step that is tried again begins its curves anew.
    """

    def __init__(self, job: Job, step: str) -> None:
        self.job = job
        self._ledger, self._run, self._step = job.store.ledger, job.run, step
        self._lock = threading.Lock()
        self._curves: dict[str, _Curve] = {}
        self._waiting = 0
        self._is_closed = False
        self._earlier: dict[str, int] | None = None
        self._announced: tuple[Record, ...] = ()
        self._process = os.getpid()
        with _guard:
            _open.add(self)

    def log(self, name: str, value: float, step: int | None = None) -> None:
        """Add a point; it is on the disk within about a second, and at the latest when the step ends.

        Raises:
            UsageError: the value is not a number, or the name or step cannot be one.
        """
        curve = self._curves.get(name) if type(name) is str else None
        if curve is None:
            curve = self._begin(name)
        if type(value) is not float:
            value = _number(name, value)
        if step is not None and (type(step) is not int or not -_WHOLE <= step < _WHOLE):
            step = _whole(name, step)
        with self._lock:
            if self._is_closed or self._process != os.getpid():
                raise self._too_late(name)
            if step is None:
                step = curve.next
            if step >= curve.next:
                curve.next = step + 1
            curve.pairs += (step, value)
            self._waiting += 1
            is_full = self._waiting > MOST_WAITING
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting; where that fails, it goes on waiting.

        Raises:
            StoreError: it cannot be written.
        """
        if (self._waiting or self._announced) and self._process == os.getpid():
            self._write(self._announced)
            self._announced = ()

    def announce(self, *records: Record) -> None:
        """Write `records` together with the first points that are written before the end."""
        self._announced = records
        _watch()

    def close(self, *records: Record) -> None:
        """Write what is left, and `records`, all at once.

        Raises:
            StoreError: it cannot be written.
        """
        with self._lock:
            self._is_closed = True
            is_empty = not self._waiting
        try:
            if records or not is_empty:
                self._write(records)
        finally:
            with _guard:
                _open.discard(self)

    def _begin(self, name: str) -> _Curve:
        named(name, "a metric")
        with self._lock:
            curve = self._curves.setdefault(name, _Curve())
        _watch()
        return curve

    def _too_late(self, name: str) -> UsageError:
        if self._is_closed:
            found, remedy = "by a thread after it had ended", "wait for the thread before the step returns"
        else:
            found, remedy = "by a process that it started", "return the figures to the step and log them there"
        return UsageError(
            f"{name!r} of the step {self._step!r} was logged {found}, and cannot be kept",
            remedy=remedy,
            place=caller(),
        )

    def _write(self, records: tuple[Record, ...]) -> None:
        with self._ledger.transaction():
            # Taken while no other thread can write, so that points are written in the order they were logged.
            with self._lock:
                taken = [(name, curve, curve.pairs) for name, curve in self._curves.items() if curve.pairs]
                for _, curve, _ in taken:
                    curve.pairs = []
                self._waiting = 0
            earlier, numbers = self._earlier, [curve.number for _, curve, _ in taken]
            try:
                figures = self._written(taken) if taken else []
                if figures or records:
                    self._ledger.write(*figures, *records)
            except BaseException:
                self._give_back(taken, numbers, earlier)
                raise

    def _written(self, taken: list[tuple[str, _Curve, list[float]]]) -> list[Figure]:
        """Write the points, and return the figures that sum them up."""
        self._number_curves(taken)
        figures, rows = [], []
        for name, curve, pairs in taken:
            steps, values = pairs[0::2], pairs[1::2]
            curve.take_in(steps, values)
            places: list[Any] = [curve.number] * (3 * len(steps))
            places[1::3], places[2::3] = steps, values
            rows += places
            is_known = curve.low <= curve.high
            figures.append(
                Figure(
                    run=self._run, kind="metric", name=f"{self._step}.{name}", step=self._step, curve=curve.number,
                    value=curve.last if curve.last == curve.last else None,
                    low=curve.low if is_known else None, high=curve.high if is_known else None,
                )
            )  # fmt: skip
        width = 3 * _ROWS_A_STATEMENT
        for start in range(0, len(rows), width):
            part = rows[start : start + width]
            self._ledger.execute(_insertion(len(part) // 3), part)
        return figures

    def _number_curves(self, taken: list[tuple[str, _Curve, list[float]]]) -> None:
        """Give each new curve a number; one of an earlier attempt keeps its own, and loses its points."""
        if all(curve.number is not None for _, curve, _ in taken):
            return
        if self._earlier is None:
            make_table(self._ledger)
            found = self._ledger.select(
                "SELECT name, curve FROM figure WHERE run = ? AND kind = 'metric' AND step = ?", (self._run, self._step)
            )
            self._earlier = dict(found)
        ((highest,),) = self._ledger.select("SELECT max(curve) FROM point")
        for name, curve, _ in taken:
            if curve.number is None:
                curve.number = self._earlier.get(f"{self._step}.{name}")
                if curve.number is None:
                    curve.number = highest = (highest or 0) + 1
                else:
                    self._ledger.execute("DELETE FROM point WHERE curve = ?", (curve.number,))

    def _give_back(
        self,
        taken: list[tuple[str, _Curve, list[float]]],
        numbers: list[int | None],
        earlier: dict[str, int] | None,
    ) -> None:
        with self._lock:
            for (_, curve, pairs), number in zip(taken, numbers, strict=True):
                curve.pairs[:0] = pairs
                curve.number = number
            self._waiting = sum(len(curve.pairs) // 2 for curve in self._curves.values())
            self._earlier = earlier


def running() -> Job | None:
    """Return the one step that runs in this process; None when there is none.

    A thread that a step starts does not know which step that was, so it can log only while no other step runs.

    Raises:
        UsageError: several steps run.
    """
    with _guard:
        found = [points for points in _open if points._process == os.getpid()]
    if len(found) > 1:
        raise UsageError(
            "a thread logs while several steps run, and nothing tells to which of them it belongs",
            remedy="start it with the step's context: `Thread(target=contextvars.copy_context().run, args=(work,))`",
            place=caller(),
        )
    return found[0].job if found else None


def make_table(ledger: Ledger) -> None:
    """Make the table of points where it is missing."""
    ledger.prepare(Figure)
    ledger.execute(_TABLE)


def points_of(ledger: Ledger, curve: int, *, most: int = 0) -> list[tuple[int, float]]:
    """Return the points of a curve as `(step, value)`, in the order of the steps.

    With `most`, a longer curve is thinned out: to the least and greatest value of each stretch while it has few
    thousand points, to evenly spaced points above. Its first and last point stay.
    """
    make_table(ledger)
    whole = "SELECT step, value FROM point WHERE curve = ? ORDER BY step"
    if not most:
        return [_point(row) for row in ledger.select(whole, (curve,))]
    enough = 20 * most
    rows = ledger.select(f"{whole} LIMIT ?", (curve, enough + 1))
    if len(rows) <= most:
        return [_point(row) for row in rows]
    if len(rows) <= enough:
        return _extremes([_point(row) for row in rows], most // 2)
    ((first, last),) = ledger.select("SELECT min(step), max(step) FROM point WHERE curve = ?", (curve,))
    sampled = ledger.select(
        "WITH RECURSIVE place (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM place WHERE number < ?1) "
        "SELECT DISTINCT point.step, point.value FROM place JOIN point ON point.curve = ?2 AND point.step = "
        "(SELECT min(step) FROM point WHERE curve = ?2 AND step >= ?3 + (?4 - ?3) * number / ?1) ORDER BY point.step",
        (most - 1, curve, first, last),
    )
    return [_point(row) for row in sampled]


def named(name: Any, what: str) -> None:
    """Raise where `name` cannot name something that a step logs or attaches.

    Raises:
        UsageError: it is no text, empty, too long, or has characters that cannot be shown.
    """
    if not isinstance(name, str):
        found = f"a {type(name).__name__}"
    elif not name.strip():
        found = "empty"
    elif len(name) > LONGEST_NAME:
        found = f"{len(name)} characters long"
    elif not name.isprintable():
        found = f"{name!r}, which holds characters that cannot be shown"
    else:
        return
    raise UsageError(
        f"the name of {what} is {found}", remedy=f"use 1 to {LONGEST_NAME} characters on one line", place=caller()
    )


def _number(name: str, value: Any) -> float:
    plain = value
    if not isinstance(value, (int, float)) and callable(getattr(value, "item", None)):
        try:
            plain = value.item()
        except (ValueError, TypeError, RuntimeError):
            pass  # an array of more than one value
    if not isinstance(plain, (str, bytes)) and hasattr(plain, "__float__") and getattr(plain, "size", 1) == 1:
        try:
            return float(plain)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
    raise UsageError(
        f"{name!r} was logged as {_shown(value)}, which is not a number",
        remedy="give one number, such as `float(…)` or `.mean()`; what is no number can be attached with dt.attach",
        place=caller(),
    )


def _whole(name: str, step: Any) -> int:
    try:
        found = index(step)
    except TypeError:
        found = _WHOLE
    if not -_WHOLE <= found < _WHOLE:
        raise UsageError(
            f"{name!r} was logged at the step {_shown(step)}, which is not a whole number of 64 bits",
            remedy="count epochs or iterations: `step=3`; without it, points are counted",
            place=caller(),
        )
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"


def _insertion(rows: int) -> str:
    places = ",".join(["(?,?,?)"] * rows)
    return f"INSERT OR REPLACE INTO point (curve, step, value) VALUES {places}"  # noqa: S608  # places only


def _point(row: tuple[Any, ...]) -> tuple[int, float]:
    step, value = row
    return step, float("nan") if value is None else value  # SQLite takes NaN for NULL


def _extremes(points: list[tuple[int, float]], stretches: int) -> list[tuple[int, float]]:
    width = -(-len(points) // stretches)
    kept = {points[0], points[-1]}
    for start in range(0, len(points), width):
        part = [point for point in points[start : start + width] if point[1] == point[1]] or points[start : start + 1]
        kept |= {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
    return sorted(kept, key=lambda point: point[0])


def _watch() -> None:
    """Make sure that somebody writes the open points every second."""
    global _flusher
    with _guard:
        if _flusher is None or not _flusher.is_alive():
            _flusher = threading.Thread(target=_flush_often, name="drivetrain-points", daemon=True)
            _flusher.start()


def _flush_often() -> None:
    global _flusher
    while True:
        time.sleep(FLUSH_S)
        with _guard:
            found = list(_open)
            if not found:
                _flusher = None
                return
        for points in found:
            try:
                points.flush()
            except StoreError:
                pass  # they go on waiting; the end of the step writes them, and says what is wrong

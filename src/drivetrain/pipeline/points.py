"""The points that a step logs: buffered in memory, written every second while it works, and all of them at its end.

Many rows go in with one statement: SQLite then works on them without Python's lock, beside the step.
"""

from __future__ import annotations

import os
import threading
import time
from operator import index
from typing import TYPE_CHECKING, Any

from drivetrain.errors import CorruptLedger, StoreError, UsageError
from drivetrain.pipeline.curve import WHOLE, Curve, checked, checksum, insert, make_table, next_number, point
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
_guard = threading.Lock()
_open: set[Points] = set()
_flusher: threading.Thread | None = None


class Points:
    """The points of one step of one run. Any thread may log.

    A point without a step is counted on from the one before; the same step again takes the place of the earlier
    point. A step that is tried again begins its curves anew.
    """

    def __init__(self, job: Job, step: str) -> None:
        self.job = job
        self._ledger, self._run, self._step = job.store.ledger, job.run, step
        self._lock = threading.Lock()
        self._curves: dict[str, Curve] = {}
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
        if step is not None and (type(step) is not int or not -WHOLE <= step < WHOLE):
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
            is_done = not self._waiting and all(curve.is_in_order for curve in self._curves.values())
        try:
            if records or not is_done:
                self._write(records, is_last=True)
        finally:
            with _guard:
                _open.discard(self)

    def _begin(self, name: str) -> Curve:
        named(name, "a metric")
        with self._lock:
            curve = self._curves.setdefault(name, Curve())
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

    def _write(self, records: tuple[Record, ...], *, is_last: bool = False) -> None:
        with self._ledger.transaction():
            # Taken while no other thread can write, so that points are written in the order they were logged.
            with self._lock:
                taken = [
                    (name, curve, curve.pairs)
                    for name, curve in self._curves.items()
                    if curve.pairs or (is_last and not curve.is_in_order)
                ]
                for _, curve, _ in taken:
                    curve.pairs = []
                self._waiting = 0
            earlier = self._earlier
            before = [(curve.number, curve.sums, curve.is_in_order) for _, curve, _ in taken]
            try:
                figures = self._written(taken, is_last=is_last) if taken else []
                if figures or records:
                    self._ledger.write(*figures, *records)
            except BaseException:
                self._give_back(taken, before, earlier)
                raise

    def _written(self, taken: list[tuple[str, Curve, list[float]]], *, is_last: bool) -> list[Figure]:
        """Write the points, and return the figures that sum them up."""
        self._number_curves(taken)
        rows: list[Any] = []
        for _, curve, pairs in taken:
            steps, values = pairs[0::2], pairs[1::2]
            if steps:
                curve.take_in(steps, values)
            places: list[Any] = [curve.number] * (3 * len(steps))
            places[1::3], places[2::3] = steps, values
            rows += places
        insert(self._ledger, rows)
        figures = []
        for name, curve, _ in taken:
            assert curve.number is not None
            is_known = curve.low <= curve.high
            total = curve.sum
            if total is None and is_last:
                total = checksum(checked(self._ledger, curve.number)[0])
            figures.append(
                Figure(
                    run=self._run, kind="metric", name=f"{self._step}.{name}", step=self._step, curve=curve.number,
                    curve_sum=total,
                    value=curve.last if curve.last == curve.last else None,
                    low=curve.low if is_known else None, high=curve.high if is_known else None,
                )
            )  # fmt: skip
        return figures

    def _number_curves(self, taken: list[tuple[str, Curve, list[float]]]) -> None:
        """Give each new curve a number; one of an earlier attempt keeps its own, and loses its points."""
        if all(curve.number is not None for _, curve, _ in taken):
            return
        if self._earlier is None:
            make_table(self._ledger)
            found = self._ledger.select(
                "SELECT name, curve FROM figure WHERE run = ? AND kind = 'metric' AND step = ?", (self._run, self._step)
            )
            self._earlier = dict(found)
        following = next_number(self._ledger)
        for name, curve, _ in taken:
            if curve.number is None:
                curve.number = self._earlier.get(f"{self._step}.{name}")
                if curve.number is None:
                    curve.number, following = following, following + 1
                else:
                    self._ledger.execute("DELETE FROM point WHERE curve = ?", (curve.number,))

    def _give_back(
        self,
        taken: list[tuple[str, Curve, list[float]]],
        before: list[tuple[int | None, tuple[int, int], bool]],
        earlier: dict[str, int] | None,
    ) -> None:
        with self._lock:
            for (_, curve, pairs), (number, sums, is_in_order) in zip(taken, before, strict=True):
                curve.pairs[:0] = pairs
                curve.number, curve.sums, curve.is_in_order = number, sums, is_in_order
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


def points_of(ledger: Ledger, curve: int, *, most: int = 0) -> list[tuple[int, float]]:
    """Return the points of a curve as `(step, value)`, in the order of the steps.

    With `most`, a longer curve is thinned out: to the least and greatest value of each stretch while it has few
    thousand points, to evenly spaced points above. Its first and last point stay. A curve that is read as a whole is
    checked; of a longer one, `drivetrain store fsck` tells whether all of its points are what was logged.

    Raises:
        CorruptLedger: the points are not those that were logged.
    """
    make_table(ledger)
    enough = 20 * most
    rows, is_whole = checked(ledger, curve, most=enough + 1 if most else 0)
    if not is_whole:
        raise CorruptLedger(table="point", key=[f"{curve}, of a curve"], path=str(ledger.path))
    if not most or len(rows) <= most:
        return [point(row) for row in rows]
    if len(rows) <= enough:
        return _extremes([point(row) for row in rows], most // 2)
    ((first, last),) = ledger.select("SELECT min(step), max(step) FROM point WHERE curve = ?", (curve,))
    sampled = ledger.select(
        "WITH RECURSIVE place (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM place WHERE number < ?1) "
        "SELECT DISTINCT point.step, point.value FROM place JOIN point ON point.curve = ?2 AND point.step = "
        "(SELECT min(step) FROM point WHERE curve = ?2 AND step >= ?3 + (?4 - ?3) * number / ?1) ORDER BY point.step",
        (most - 1, curve, first, last),
    )
    return [point(row) for row in sampled]


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
        found = WHOLE
    if not -WHOLE <= found < WHOLE:
        raise UsageError(
            f"{name!r} was logged at the step {_shown(step)}, which is not a whole number of 64 bits",
            remedy="count epochs or iterations: `step=3`; without it, points are counted",
            place=caller(),
        )
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"


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

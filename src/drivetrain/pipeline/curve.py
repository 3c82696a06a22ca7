"""A curve: the points of one metric of one step, a row each, and the checksum of them all that its figures keep.

A point is one row, `(curve, step, value)`, of a table without row ids; which metric of which run a curve is says its
`Figure`, and runs whose steps did not run again share it.
"""

from __future__ import annotations

import json
import struct
from math import inf
from operator import lt
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from drivetrain.pipeline.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.store.ledger import Ledger
    from drivetrain.store.store import Store

TABLE = "point"
WHOLE = 1 << 63
_ROWS_A_STATEMENT = 2000
_MADE = (
    "CREATE TABLE IF NOT EXISTS point (curve INTEGER NOT NULL, step INTEGER NOT NULL, value REAL, "
    "PRIMARY KEY (curve, step)) WITHOUT ROWID"
)


class Curve:
    """One metric of one step while it is logged."""

    __slots__ = ("high", "is_in_order", "last", "low", "next", "number", "pairs", "sums", "top")

    def __init__(self) -> None:
        self.number: int | None = None
        # Step and value in turn, as they are bound.
        self.pairs: list[float] = []
        self.next = 0
        self.top, self.last, self.low, self.high = -WHOLE, float("nan"), inf, -inf
        self.sums, self.is_in_order = (0, 0), True

    def take_in(self, steps: list[float], values: list[float]) -> None:
        """Bring the last, least and greatest value, and the checksum, up to more points."""
        if steps[0] <= self.top or not all(map(lt, steps, steps[1:])):
            self.is_in_order = False  # a point may have taken the place of another
        self.sums = _sums(steps, values, self.sums)
        top = max(steps)
        if top >= self.top:
            self.top, self.last = int(top), values[len(steps) - 1 - steps[::-1].index(top)]
        known = [value for value in values if value == value]
        if known:
            self.low, self.high = min(self.low, min(known)), max(self.high, max(known))

    @property
    def sum(self) -> int | None:
        """The checksum of all points so far; None where only the table can tell, which has some in another order."""
        return _joined(self.sums) if self.is_in_order else None


def make_table(ledger: Ledger) -> None:
    """Make the table of points where it is missing."""
    ledger.prepare(Figure)
    ledger.execute(_MADE)


def insert(ledger: Ledger, rows: list[Any]) -> None:
    """Write points, given as curve, step and value in turn; a point of the same curve and step is replaced."""
    width = 3 * _ROWS_A_STATEMENT
    for start in range(0, len(rows), width):
        part = rows[start : start + width]
        places = ",".join(["(?,?,?)"] * (len(part) // 3))
        ledger.execute(f"INSERT OR REPLACE INTO point (curve, step, value) VALUES {places}", part)  # noqa: S608


def next_number(ledger: Ledger) -> int:
    """Return a number that no curve has yet."""
    make_table(ledger)
    ((points, figures),) = ledger.select("SELECT (SELECT max(curve) FROM point), (SELECT max(curve) FROM figure)")
    return max(points or 0, figures or 0) + 1


def checked(ledger: Ledger, curve: int, *, most: int = 0) -> tuple[list[tuple[Any, Any]], bool]:
    """Return the rows of a curve, at most so many, and whether they are what was written; a part cannot be told wrong.

    Points and checksum are read at one moment, as a step may be writing them.
    """
    sql = "SELECT step, value, (SELECT curve_sum FROM figure WHERE curve = ?1 LIMIT 1) FROM point WHERE curve = ?1"
    found = ledger.select(f"{sql} ORDER BY step LIMIT ?2", (curve, most or -1))
    rows = [(step, value) for step, value, _ in found]
    kept = found[0][2] if found else None
    if not found:  # all points may be gone
        ((kept,),) = ledger.select("SELECT max(curve_sum) FROM figure WHERE curve = ?", (curve,))
    if kept is None or (most and len(rows) == most):
        return rows, True
    return rows, checksum(rows) == kept


def checksum(rows: Sequence[tuple[Any, Any]]) -> int | None:
    """Return the checksum of points in the order of their steps; None where one is no point at all.

    >>> checksum([(0, 0.5), (1, None)]) == checksum([(0, 0.5), (1, float("nan"))])
    True
    """
    try:
        steps, values = [step for step, _ in rows], [point(row)[1] for row in rows]
        return _joined(_sums(steps, values, (0, 0)))
    except (struct.error, TypeError):
        return None


def point(row: tuple[Any, ...]) -> tuple[int, float]:
    """Return a point as it was logged: SQLite takes NaN for NULL."""
    step, value = row
    return step, float("nan") if value is None else value


def curves_of(ledger: Ledger) -> dict[int, list[tuple[str, str, str]]]:
    """Return the keys of the figures that name each curve: run, kind and name."""
    make_table(ledger)
    found: dict[int, list[tuple[str, str, str]]] = {}
    for curve, *key in ledger.select("SELECT curve, run, kind, name FROM figure WHERE curve IS NOT NULL ORDER BY run"):
        found.setdefault(curve, []).append((key[0], key[1], key[2]))
    return found


def damaged(ledger: Ledger) -> dict[int, list[tuple[str, str, str]]]:
    """Return the curves whose points are not those that were written, with the keys of the figures that name them."""
    return {curve: keys for curve, keys in curves_of(ledger).items() if not checked(ledger, curve)[1]}


def set_aside(store: Store) -> list[int]:
    """Move the points of damaged curves into `quarantine/`; their figures keep last, least and greatest value.

    Raises:
        StoreUnavailable: a run is going on.
    """
    store.quarantine.mkdir(exist_ok=True)
    with store.alone():
        found = damaged(store.ledger)
        for number in found:
            rows, _ = checked(store.ledger, number)
            lines = "".join(json.dumps(row, default=repr) + "\n" for row in rows)
            (store.quarantine / f"curve-{number}.jsonl").write_text(lines, encoding="ascii")
        with store.ledger.transaction():
            for number in found:
                figures = store.ledger.find(Figure, {"curve": number})
                store.ledger.write(*(msgspec.structs.replace(each, curve=None, curve_sum=None) for each in figures))
                store.ledger.execute("DELETE FROM point WHERE curve = ?", (number,))
    return list(found)


def forget(ledger: Ledger, curves: Sequence[int]) -> None:
    """Delete the points of those curves that no figure names any longer."""
    make_table(ledger)
    for curve in curves:
        ledger.execute(
            "DELETE FROM point WHERE curve = ?1 AND NOT EXISTS (SELECT 1 FROM figure WHERE curve = ?1)", (curve,)
        )


def packed(rows: Sequence[tuple[Any, Any]]) -> bytes:
    """Return points as bytes, 16 each: first all steps, then all values."""
    points = [point(row) for row in rows]
    return struct.pack(f"<{len(rows)}q", *(step for step, _ in points)) + struct.pack(
        f"<{len(rows)}d", *(value for _, value in points)
    )


def unpacked(data: bytes) -> list[tuple[int, float]]:
    """Return what `packed` made bytes of.

    Raises:
        ValueError: it is something else.
    """
    count, rest = divmod(len(data), 16)
    steps = struct.unpack(f"<{count}q", data[: 8 * count])
    if rest or not all(map(lt, steps, steps[1:])):
        raise ValueError("it is no curve")
    return list(zip(steps, struct.unpack(f"<{count}d", data[8 * count :]), strict=True))


def _sums(steps: Sequence[float], values: Sequence[float], sums: tuple[int, int]) -> tuple[int, int]:
    # A NaN comes back as the one NaN there is, and SQLite has no negative zero.
    plain = [value + 0.0 if value == value else float("nan") for value in values]
    return (
        crc32(struct.pack(f"<{len(steps)}q", *steps), sums[0]),
        crc32(struct.pack(f"<{len(plain)}d", *plain), sums[1]),
    )


def _joined(sums: tuple[int, int]) -> int:
    return (sums[0] << 31) ^ sums[1]

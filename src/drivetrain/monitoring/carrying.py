"""What goes with runs from store to store beside rows and artifacts: the points of curves, and what steps printed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import CorruptLedger
from drivetrain.pipeline.attempt import logs_of
from drivetrain.pipeline.curve import checked, checksum, curves_of, insert, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from drivetrain.pipeline.figure import Figure
    from drivetrain.store.archive import Archive
    from drivetrain.store.sqlite import SQLiteLedger
    from drivetrain.store.store import Store


def files_of(store: Store, ledger: SQLiteLedger, runs: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the curves and logs of runs, as an archive names them.

    Raises:
        CorruptLedger: a curve is damaged.
    """
    for curve, keys in curves_of(ledger).items():
        if any(run in runs for run, *_ in keys):
            rows, is_whole = checked(ledger, curve)
            if not is_whole:
                raise CorruptLedger(table="point", key=[f"{curve}, of a curve"], path=str(ledger.path))
            yield f"curves/{curve}", packed(rows)
    for run in sorted(runs):
        for path in sorted(logs_of(store.root, run).glob("*.log")):
            yield f"logs/{run}/{path.name}", path.read_bytes()


class Curves:
    """The curves of an archive: which are here under which number, and which are to be written."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._figures: dict[int, list[tuple[Figure, Figure | None]]] = {}
        self._numbers: dict[int, int] = {}
        self._wanted: list[int] = []

    def take(self, figure: Figure, here: Figure | None) -> bool:
        """Take a figure of the archive beside the one that is here, and return whether the two contradict each other.

        The same curve may have another number here, or its points were damaged here and set aside.
        """
        if figure.curve is not None:
            self._figures.setdefault(figure.curve, []).append((figure, here))
        if here is None:
            return False
        sums = {figure.curve_sum, here.curve_sum} - {None}
        return len(sums) > 1 or _without_curve(figure) != _without_curve(here)

    def verify(self) -> None:
        """Read all curves of the archive.

        Raises:
            BadArchive: one is missing, too much, or not what its figures say.
        """
        there = {int(name[7:]) for name in self._archive.manifest.files if name.startswith("curves/")}
        for number in sorted(there ^ self._figures.keys()):
            raise self._archive.bad(f"curve {number} is in it without a figure, or a figure without the curve")
        for number, figures in self._figures.items():
            total = checksum(self._points(number))
            if any(figure.curve_sum not in (None, total) for figure, _ in figures):
                raise self._archive.bad(f"the points of curve {number} are not those that its figures tell of")

    def settle(self, ledger: SQLiteLedger) -> list[Figure]:
        """Give each curve its number here, and return the figures that are to be written."""
        taken = set(curves_of(ledger))
        following = max(taken | self._figures.keys(), default=0) + 1
        fresh = []
        for number, figures in self._figures.items():
            known = next((here.curve for _, here in figures if here is not None and here.curve is not None), None)
            if known is None:
                known, following = (number, following) if number not in taken else (following, following + 1)
                taken.add(known)
                self._wanted.append(number)
            elif not checked(ledger, known)[1]:
                self._wanted.append(number)
            self._numbers[number] = known
            fresh += [
                msgspec.structs.replace(figure, curve=known)
                for figure, here in figures
                if here is None or here.curve is None
            ]
        return fresh

    def write(self, ledger: SQLiteLedger) -> int:
        """Write the points of what is not here, or damaged here, and return how many curves that were."""
        for number in self._wanted:
            here = self._numbers[number]
            ledger.execute("DELETE FROM point WHERE curve = ?", (here,))
            insert(ledger, [part for step, value in self._points(number) for part in (here, step, value)])
        return len(self._wanted)

    def _points(self, number: int) -> list[tuple[int, float]]:
        try:
            return unpacked(self._archive.file(f"curves/{number}"))
        except ValueError as error:
            raise self._archive.bad(f"curve {number} cannot be read: {error}") from error


def bring_logs(store: Store, archive: Archive, runs: Collection[str]) -> None:
    """Write the logs of runs that have none here.

    Raises:
        BadArchive: a log belongs to no run of the archive.
    """
    for name in archive.manifest.files:
        if not name.startswith("logs/"):
            continue
        _, run, file = name.split("/")
        if run not in runs:
            raise archive.bad(f"it holds {name}, and not the run")
        place = logs_of(store.root, run) / file
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            scratch = place.with_name(f".{os.getpid()}.partial")
            scratch.write_bytes(archive.file(name))
            scratch.rename(place)


def _without_curve(figure: Figure) -> Figure:
    return msgspec.structs.replace(figure, curve=None, curve_sum=None)

"""Frames answered by a model that gives values: each row is read, checked and answered as a request is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from drivetrain.data.kinds.kind import KINDS
from drivetrain.errors import UsageError
from drivetrain.serving.batch.cells import can_be_read, cells_of
from drivetrain.serving.batch.outputs import answers_of, names_of
from drivetrain.serving.fit import Fit, endless, fit
from drivetrain.serving.requests import Reader, wanted

if TYPE_CHECKING:
    from collections.abc import Container

    from drivetrain.serving.batch.folder import Folder
    from drivetrain.serving.ready import ReadyModel


class ValuesAnswerer:
    """Answers with a network, a class of the user's, or an engine elsewhere."""

    def __init__(self, model: ReadyModel, *, most_rows: int) -> None:
        self._model = model
        self.most_rows: int | None = most_rows
        self.version, self.reader = model.version, model.reader
        if not self.reader.columns:
            raise UsageError(
                f"{self.version.id} takes nothing, so that no rows differ for it", remedy="ask it through its service"
            )
        if "version" in names_of(self.version.signature)[:-1]:
            raise UsageError(
                f"{self.version.id} has an output 'version', which is what an output's own column is called",
                remedy="ask it through its service, or give that output another name",
            )
        # The columns that are a table's own, and the places of the others.
        plain = [column for column in self.reader.columns if column.kind not in KINDS]
        self._plain = Reader(plain, optional=self.reader.optional)
        self._places = [place for place, column in enumerate(self.reader.columns) if column.kind in KINDS]

    def fit(self, frame: pl.DataFrame, *, text: Container[str], folder: Folder, limit: int | None) -> Fit:
        """Return the values of the requests that a frame's rows are.

        Columns of the plain kinds are fitted as those of tables, but that no number is NaN or infinite, as in JSON;
        the others are columns of objects.
        """
        nothing = Fit(pl.DataFrame(), pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True), [])
        found = fit(self._plain, frame, text=text, limit=None) if self._plain.columns else nothing
        whole = [] if found.columns_fit else [problem for problem in found.problems if problem["row"] is None]
        whole += [problem for place in self._places if (problem := self._unreadable(frame, place)) is not None]
        if whole:
            return Fit(found.frame, found.bad, sorted(whole, key=self._order))
        problems = [*found.problems, *endless(self._plain, found.frame)]
        columns: dict[str, pl.Series] = {each.name: each for each in found.frame.fill_nan(None)}
        for place in self._places:
            name = self.reader.names[place]
            if name not in frame.columns:
                columns[name] = pl.Series(name, [None] * frame.height, dtype=pl.Object)
                continue
            cells = cells_of(self.reader, place, frame[name], folder)
            columns[name] = pl.Series(name, cells.values, dtype=pl.Object)
            problems += [{"row": row, "field": name, **misfit._asdict()} for row, misfit in cells.misfits.items()]
        bad_rows = {problem["row"] for problem in problems}
        bad = pl.Series([row in bad_rows for row in range(frame.height)], dtype=pl.Boolean)
        problems.sort(key=self._order)
        return Fit(
            pl.DataFrame([columns[name] for name in self.reader.names], height=frame.height),
            bad,
            problems if limit is None else problems[:limit],
        )

    def answered(self, asked: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, Exception]]:
        answers, refused = self._model.each(asked.rows())
        return answers_of(self.version.signature, answers.predictions), refused

    def unanswered(self) -> pl.DataFrame:
        return answers_of(self.version.signature, [])

    def _unreadable(self, frame: pl.DataFrame, place: int) -> dict[str, Any] | None:
        """Return what is wrong with a whole column; None where it can be looked at value by value."""
        column = self.reader.columns[place]
        if column.name in frame.columns:
            if can_be_read(frame[column.name].dtype, column):
                return None
            found = f"a column of {frame[column.name].dtype}"
        elif self.reader.may_lack[place]:
            return None
        else:
            found = "nothing"
        return {"row": None, "field": column.name, "found": found, "wanted": wanted(column)}

    def _order(self, problem: dict[str, Any]) -> tuple[int, int]:
        return -1 if problem["row"] is None else problem["row"], self.reader.places[problem["field"]]

"""Frames of rows, answered with the code that the server uses; what of them does not fit is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import polars as pl

from drivetrain.errors import BadRow, DrivetrainError, Unreachable, UnreadableImage, UsageError, nearest
from drivetrain.serving.batch.answerer import answerer_of
from drivetrain.serving.batch.folder import Folder
from drivetrain.serving.batch.sizes import chunk_rows
from drivetrain.serving.live import reason_of
from drivetrain.serving.requests import MAX_PROBLEMS
from drivetrain.serving.unreadable import placed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from drivetrain.registry.version import Version
    from drivetrain.serving.batch.answerer import Answerer
    from drivetrain.serving.batch.job import OnBadRow
    from drivetrain.store.store import Store

# Where so many rows of one chunk, or one after another, fail in the model or features function, it is broken, and not
# the rows.
MOST_FAILURES = 1_000
_NOWHERE = Folder("")


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """A row that could not be answered: where it stands, what was found and what is wanted.

    Rows count from 0, after the header. `field` is empty where the row as a whole is wrong.
    """

    file: str
    row: int
    field: str = ""
    found: str = ""
    wanted: str = ""


class Scored(NamedTuple):
    """Rows with their answers, and those that have none."""

    frame: pl.DataFrame
    rejects: list[Reject]


class Scorer:
    """Answers frames with one version.

    `keeps` are the columns of the input that the output has, None for all of them.
    """

    def __init__(self, answerer: Answerer, *, keeps: Sequence[str] | None, on_bad_row: OnBadRow) -> None:
        self._answerer, self._keeps, self._on_bad_row = answerer, keeps, on_bad_row
        # How many rows have failed since one was answered.
        self._failed = 0

    def score(
        self,
        frame: pl.DataFrame,
        *,
        file: str = "",
        first_row: int = 0,
        text: Collection[str] = (),
        as_written: bool = False,
        broken: Mapping[int, str] | None = None,
        folder: Folder = _NOWHERE,
    ) -> Scored:
        """Return a frame's rows with their answers, such as `prediction`, and `version`.

        `text` are the columns in which numbers are written out; the output has them in their exact types, unless
        `as_written`. `broken` are rows that could not be read, with the reason. `folder` has the files that rows name.

        Raises:
            BadRow: a row does not fit, and `on_bad_row` is `fail`.
            UsageError: a column is missing or of a type that cannot be taken.
            Unreachable: the model is an engine's that is not there.
        """
        may_go_on = self._on_bad_row != "fail"
        found = self._answerer.fit(frame, text=text, folder=folder, limit=None if may_go_on else MAX_PROBLEMS + 1)
        if not found.columns_fit:
            raise self._unfit(found.problems[0], frame)
        rejects = [
            Reject(file=file, row=first_row + row, wanted="a record that can be read", found=why)
            for row, why in (broken or {}).items()
        ]
        bad = found.bad
        if broken:
            bad = bad | pl.Series([row in broken for row in range(frame.height)], dtype=pl.Boolean)
        rejects += [
            Reject(file=file, row=first_row + each["row"], **{key: each[key] for key in ("field", "found", "wanted")})
            for each in found.problems
            if each["row"] not in (broken or {})
        ]
        if rejects and not may_go_on:
            raise bad_row(min(rejects, key=lambda each: each.row))
        any_bad = bool(rejects)
        asked = found.frame.filter(~bad) if any_bad else found.frame
        answers, failures = self._answered(asked, stop_at_first=not may_go_on)
        if failures:
            places = (~bad).arg_true() if any_bad else pl.int_range(frame.height, eager=True)
            rejects += [Reject(file=file, row=first_row + places[place], **why) for place, why in failures.items()]
            if not may_go_on:
                raise bad_row(rejects[0])
            failed = pl.Series([places[place] for place in failures], dtype=pl.UInt32)
            bad = bad.clone().scatter(failed, True)
            any_bad = True
        kept = self._kept(frame, found.frame, () if as_written else text)
        rejects.sort(key=lambda each: each.row)
        if not any_bad:
            return Scored(_beside(kept, answers), rejects)
        if self._on_bad_row == "skip":
            return Scored(_beside(kept.filter(~bad) if kept.width else kept, answers), rejects)
        spread = ((~bad).cum_sum().cast(pl.Int64) - 1).set(bad, None)
        return Scored(_beside(kept, answers.select(pl.all().gather(spread))), rejects)

    def schema(self, columns: Mapping[str, Any], text: Collection[str], *, as_written: bool) -> pl.Schema:
        """Return the columns that `score` gives for a frame with such columns."""
        return self._empty(columns, text, as_written=as_written).schema

    def _empty(self, columns: Mapping[str, Any], text: Collection[str], *, as_written: bool) -> pl.DataFrame:
        frame = pl.DataFrame(schema=columns)
        found = self._answerer.fit(frame, text=text, folder=_NOWHERE, limit=None)
        if not found.columns_fit:
            raise self._unfit(found.problems[0], frame)
        return _beside(self._kept(frame, found.frame, () if as_written else text), self._signed([]))

    def _kept(self, frame: pl.DataFrame, fitted: pl.DataFrame, text: Collection[str]) -> pl.DataFrame:
        kept = frame if self._keeps is None else frame.select(self._keeps)
        types = {name: fitted[name].dtype for name in kept.columns if name in text and name in fitted.columns}
        exact = [fitted[name] for name, dtype in types.items() if dtype != pl.Object]
        return kept.with_columns(exact) if exact else kept

    def _signed(self, answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Return answers as one frame, with the version that gave them."""
        found = pl.concat(answers) if answers else self._answerer.unanswered()
        version = pl.repeat(self._answerer.version.id, found.height, dtype=pl.String, eager=True)
        return found.with_columns(version.alias("version"))

    def _answered(self, asked: pl.DataFrame, *, stop_at_first: bool) -> tuple[pl.DataFrame, dict[int, dict[str, str]]]:
        """Return the answers to the rows that have one, and why the others, by their place, have none."""
        failures: dict[int, dict[str, str]] = {}
        found: list[pl.DataFrame] = []

        def fail(place: int, error: Exception) -> None:
            why = {"field": "", "found": reason_of(error), "wanted": "a row that can be answered"}
            if isinstance(error, UnreadableImage):
                problems = placed(error, self._answerer.reader, [asked.row(place)]).problems
                why |= {key: problem[key] for problem in problems[:1] for key in why}
            failures[place] = why | {"found": why["found"].partition("\n")[0][:300]}
            self._failed += 1
            if max(len(failures), self._failed) > MOST_FAILURES:
                raise DrivetrainError(
                    f"more than {MOST_FAILURES:,} rows fail in {self._answerer.version.id}, the last with "
                    f"{failures[place]['found']}",
                    remedy="it is the model or the features function that is broken, not the rows",
                ) from error

        def answer(start: int, stop: int) -> None:
            """Answer a range of rows, by halves where that fails, so that each row that can be answered is."""
            try:
                answers, refused = self._answerer.answered(asked.slice(start, stop - start))
            except Unreachable:
                raise
            except Exception as error:  # whatever the user's function or model raises
                if stop - start == 1:
                    fail(start, error)
                    return
                middle = (start + stop) // 2
                answer(start, middle)
                if not (failures and stop_at_first):
                    answer(middle, stop)
                return
            found.append(answers)
            if answers.height:
                self._failed = 0
            for place, why in refused.items():
                fail(start + place, why)

        most = self._answerer.most_rows or max(1, asked.height)
        for start in range(0, asked.height, most):
            answer(start, min(start + most, asked.height))
            if failures and stop_at_first:
                break
        return self._signed(found), failures

    def _unfit(self, problem: Mapping[str, Any], frame: pl.DataFrame) -> UsageError:
        name, version = problem["field"], self._answerer.version.id
        if name not in frame.columns:
            return UsageError(f"{version} needs the column {name!r}", remedy=nearest(name, frame.columns))
        return UsageError(
            f"the column {name!r} is {frame[name].dtype}, and {version} takes {problem['wanted']}",
            remedy="cast it first",
        )


def score(store: Store, version: Version, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with its answers, such as `prediction`, and `version` added.

    Columns that the version does not ask for stay as they are and are not shown to it.

    Raises:
        UsageError: a column is missing, or has another type.
        BadRow: a value does not fit.
    """
    scorer = Scorer(answerer_of(store, version), keeps=None, on_bad_row="fail")
    size = chunk_rows(version.signature, frame.width)
    scored = [scorer.score(piece, first_row=place * size).frame for place, piece in enumerate(frame.iter_slices(size))]
    return pl.concat(scored) if scored else pl.DataFrame(schema=scorer.schema(frame.schema, (), as_written=False))


def _beside(kept: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    return kept.hstack(answers) if kept.width else answers


def bad_row(reject: Reject) -> BadRow:
    """Return the error for a row that ends a job."""
    return BadRow(**msgspec.structs.asdict(reject))

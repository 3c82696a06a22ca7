"""Frames of rows, answered with the model and features function that the server uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from drivetrain.errors import BadRow, DrivetrainError, UsageError, nearest
from drivetrain.serving.fit import fit
from drivetrain.serving.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from drivetrain.registry.version import Version
    from drivetrain.serving.batch.job import OnBadRow
    from drivetrain.store.store import Store

CHUNK_ROWS = 65_536
# A chunk is about so many values, so that a wide table takes no more memory than a narrow one.
CHUNK_VALUES = 1 << 21
# Where so many rows of one chunk fail in the model or features function, it is broken, and not the rows.
MOST_FAILURES = 1_000


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

    def __init__(self, predictor: Predictor, *, keeps: Sequence[str] | None, on_bad_row: OnBadRow) -> None:
        self._predictor, self._keeps, self._on_bad_row = predictor, keeps, on_bad_row

    def score(
        self,
        frame: pl.DataFrame,
        *,
        file: str = "",
        first_row: int = 0,
        text: Collection[str] = (),
        as_written: bool = False,
        broken: Mapping[int, str] | None = None,
    ) -> Scored:
        """Return a frame's rows with `prediction`, `probabilities` for several classes, and `version`.

        `text` are the columns in which numbers are written out; the output has them in their exact types, unless
        `as_written`. `broken` are rows that could not be read, with the reason.

        Raises:
            BadRow: a row does not fit, and `on_bad_row` is `fail`.
            UsageError: a column is missing or of a type that cannot be taken.
        """
        may_go_on = self._on_bad_row != "fail"
        found = fit(self._predictor.reader, frame, text=text, **({"limit": None} if may_go_on else {}))
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
        scores, failures = self._answered(asked, stop_at_first=not may_go_on)
        if failures:
            places = (~bad).arg_true() if any_bad else pl.int_range(frame.height, eager=True)
            rejects += [
                Reject(file=file, row=first_row + places[place], found=why, wanted="a row that can be answered")
                for place, why in failures.items()
            ]
            if not may_go_on:
                raise bad_row(rejects[0])
            failed = pl.Series([places[place] for place in failures], dtype=pl.UInt32)
            bad = bad.clone().scatter(failed, True)
            any_bad = True
        kept = self._kept(frame, found.frame, () if as_written else text)
        rejects.sort(key=lambda each: each.row)
        answers = self._columns(scores)
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
        found = fit(self._predictor.reader, frame, text=text)
        if not found.columns_fit:
            raise self._unfit(found.problems[0], frame)
        kept = self._kept(frame, found.frame, () if as_written else text)
        width = len(self._predictor.classes) if self._predictor.version.signature.task == "multiclass" else 0
        return _beside(kept, self._columns(np.empty((0, width) if width else (0,))))

    def _kept(self, frame: pl.DataFrame, fitted: pl.DataFrame, text: Collection[str]) -> pl.DataFrame:
        kept = frame if self._keeps is None else frame.select(self._keeps)
        exact = [fitted[name] for name in kept.columns if name in text and name in fitted.columns]
        return kept.with_columns(exact) if exact else kept

    def _columns(self, scores: np.ndarray[Any, Any]) -> pl.DataFrame:
        classes = self._predictor.classes
        columns: list[pl.Series] = []
        if self._predictor.version.signature.task == "multiclass":
            best = pl.Series(scores.argmax(axis=1) if len(scores) else [], dtype=pl.UInt32)
            columns.append(pl.Series("prediction", classes).gather(best))
            shares = pl.DataFrame(np.asarray(scores, dtype=np.float64), schema=[str(each) for each in classes])
            columns.append(shares.to_struct("probabilities"))
        else:
            columns.append(pl.Series("prediction", np.asarray(scores, dtype=np.float64)))
        columns.append(pl.repeat(self._predictor.version.id, len(scores), dtype=pl.String, eager=True).alias("version"))
        return pl.DataFrame(columns)

    def _answered(self, asked: pl.DataFrame, *, stop_at_first: bool) -> tuple[np.ndarray[Any, Any], dict[int, str]]:
        """Return the answers to the rows that have one, and why the others, by their place, have none."""
        failures: dict[int, str] = {}
        found: list[np.ndarray[Any, Any]] = []

        def answer(start: int, stop: int) -> None:
            """Answer a range of rows, by halves where that fails, so that each row that can be answered is."""
            try:
                found.append(self._predictor.scores(asked.slice(start, stop - start))[1])
            except Exception as error:  # whatever the user's function or model raises
                if stop - start == 1:
                    failures[start] = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
                    if len(failures) > MOST_FAILURES:
                        raise DrivetrainError(
                            f"more than {MOST_FAILURES:,} of {asked.height:,} rows fail in "
                            f"{self._predictor.version.id}: {failures[start]}",
                            remedy="it is the model or the features function that is broken, not the rows",
                        ) from error
                    return
                if isinstance(error, DrivetrainError) and len(failures) > MOST_FAILURES:
                    raise
                middle = (start + stop) // 2
                answer(start, middle)
                if not (failures and stop_at_first):
                    answer(middle, stop)

        if asked.height:
            answer(0, asked.height)
        if not found:
            return self._no_scores(), failures
        return (found[0] if len(found) == 1 else np.concatenate(found)), failures

    def _no_scores(self) -> np.ndarray[Any, Any]:
        is_wide = self._predictor.version.signature.task == "multiclass"
        return np.empty((0, len(self._predictor.classes)) if is_wide else (0,))

    def _unfit(self, problem: Mapping[str, Any], frame: pl.DataFrame) -> UsageError:
        name, version = problem["field"], self._predictor.version.id
        if name not in frame.columns:
            return UsageError(f"{version} needs the column {name!r}", remedy=nearest(name, frame.columns))
        return UsageError(
            f"the column {name!r} is {frame[name].dtype}, and {version} takes {problem['wanted']}",
            remedy="cast it first",
        )


def score(store: Store, version: Version, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with `prediction`, `probabilities` for several classes, and `version` added.

    Columns that the version does not ask for stay as they are and are not shown to it.

    Raises:
        UsageError: a column is missing, or has another type.
        BadRow: a value does not fit.
    """
    scorer = Scorer(Predictor.load(store, version), keeps=None, on_bad_row="fail")
    size = chunk_rows(frame.width)
    scored = [scorer.score(piece, first_row=place * size).frame for place, piece in enumerate(frame.iter_slices(size))]
    return pl.concat(scored) if scored else pl.DataFrame(schema=scorer.schema(frame.schema, (), as_written=False))


def _beside(kept: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    return kept.hstack(answers) if kept.width else answers


def chunk_rows(columns: int) -> int:
    """Return how many rows are answered at once.

    >>> chunk_rows(10), chunk_rows(4_096)
    (65536, 512)
    """
    return max(256, min(CHUNK_ROWS, CHUNK_VALUES // max(1, columns)))


def bad_row(reject: Reject) -> BadRow:
    """Return the error for a row that ends a job."""
    return BadRow(**msgspec.structs.asdict(reject))

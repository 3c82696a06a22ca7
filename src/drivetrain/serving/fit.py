"""Frames of rows that are to be answered, held against what a version asks for, a column at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from drivetrain.errors import nearest
from drivetrain.serving.requests import INTEGERS, MAX_PROBLEMS, shown, unfit, wanted
from drivetrain.serving.table import exact, times_read

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from drivetrain.data.schema import Column
    from drivetrain.serving.requests import Reader

_TRUTHS = {"true": True, "false": False}


class Fit(NamedTuple):
    """A frame as a version takes it, and what of it does not fit.

    `frame` has the columns of the request in their exact types; a value that does not fit is null there. `bad` says for
    each row whether one of its values does not. `problems` name row, field, what was found and what is wanted, in the
    order of the rows; those of a whole column come first and have no row.
    """

    frame: pl.DataFrame
    bad: pl.Series
    problems: list[dict[str, Any]]

    @property
    def columns_fit(self) -> bool:
        """Whether no column is missing or of a type that cannot be taken."""
        return not self.problems or self.problems[0]["row"] is not None


def fitted(reader: Reader, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of a request in their exact types, in the reader's order.

    What a client may leave out is null. Whole numbers may come as floats and times as text; nothing else is guessed.

    Raises:
        RequestError: 422; up to twenty problems are named, each with its row and field. A column that nobody asked for
            is one.

    >>> from drivetrain.data.schema import Column
    >>> from drivetrain.errors import RequestError
    >>> from drivetrain.serving.requests import Reader
    >>> reader = Reader([Column(name="stops", kind="int", dtype="Int32")])
    >>> fitted(reader, pl.DataFrame({"stops": [2.0, 1.0]}))["stops"].dtype
    Int32
    >>> try:
    ...     fitted(reader, pl.DataFrame({"stops": [2.0, 1.5]}))
    ... except RequestError as error:
    ...     error.problems
    [{'row': 1, 'field': 'stops', 'found': '1.5', 'wanted': 'a whole number'}]
    """
    found = fit(reader, frame)
    problems = [*strangers(reader, frame.columns), *found.problems]
    if problems:
        raise unfit(problems[:MAX_PROBLEMS], more=len(problems) > MAX_PROBLEMS)
    return found.frame


def strangers(reader: Reader, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a problem for each name that is no column of a request."""
    return [
        {"row": None, "field": name, "found": "an unknown field", "wanted": nearest(name, reader.names)}
        for name in names
        if name not in reader.names
    ]


def fit(reader: Reader, frame: pl.DataFrame, *, text: Container[str] = (), limit: int | None = MAX_PROBLEMS + 1) -> Fit:
    """Return what a version would see of a frame, and up to `limit` problems; other columns are let be.

    In the columns of `text`, numbers and truth values may be written out, as in a CSV file.

    >>> from drivetrain.data.schema import Column
    >>> from drivetrain.serving.requests import Reader
    >>> reader = Reader([Column(name="stops", kind="int", dtype="Int8")])
    >>> found = fit(reader, pl.DataFrame({"stops": ["2", "many", "300"]}), text=["stops"])
    >>> found.frame["stops"].to_list(), found.bad.to_list()
    ([2, None, None], [False, True, True])
    >>> [problem["wanted"] for problem in found.problems]
    ['a whole number', 'a whole number that fits Int8']
    """
    columns: list[pl.Series] = []
    whole: list[dict[str, Any]] = []
    cells: list[tuple[int, int, dict[str, Any]]] = []
    bad = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    for place, (column, may_lack) in enumerate(zip(reader.columns, reader.may_lack, strict=True)):
        dtype = exact(column)
        empty = pl.repeat(None, frame.height, dtype=dtype or pl.Null, eager=True).alias(column.name)
        if column.name not in frame.columns:
            columns.append(empty)
            if not may_lack:
                whole.append(_problem(None, column, "nothing", wanted(column)))
            continue
        given = frame[column.name]
        taken = _taken(given, column, dtype, text=column.name in text)
        if taken is None:
            columns.append(empty)
            whole.append(_problem(None, column, f"a column of {given.dtype}", wanted(column, _zone(given, dtype))))
            continue
        columns.append(taken)
        if taken.null_count() == 0 or (may_lack and taken.null_count() == given.null_count()):
            continue
        wrong = taken.is_null() & given.is_not_null() if may_lack else taken.is_null()
        bad = bad | wrong
        rows = wrong.arg_true()
        for row in rows if limit is None else rows.head(limit):
            value = given[row]
            cells.append((row, place, _problem(row, column, _shown(value), wanted(column, _reason(value, column)))))
    cells.sort(key=lambda cell: cell[:2])
    problems = [*whole, *(problem for _, _, problem in cells)]
    return Fit(pl.DataFrame(columns, height=frame.height), bad, problems if limit is None else problems[:limit])


def endless(reader: Reader, frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield a problem for each number of a frame that `fit` gave which no JSON can tell: it is infinite, or NaN.

    NaN is let be where null may be.
    """
    for column, may_lack in zip(reader.columns, reader.may_lack, strict=True):
        series = frame[column.name]
        if not series.dtype.is_float() or series.is_finite().all():
            continue
        wrong = series.is_infinite() if may_lack else series.is_infinite() | series.is_nan()
        for row in wrong.arg_true():
            yield _problem(row, column, shown(series[row]), wanted(column))


def _taken(given: pl.Series, column: Column, dtype: pl.DataType | None, *, text: bool) -> pl.Series | None:
    """Return a column in its exact type, with nulls for what does not fit; None where its type cannot be taken."""
    found = given.dtype
    if dtype is None or found == dtype:
        return given
    if found == pl.Null:
        return given.cast(dtype)
    if found == pl.String and column.kind in ("date", "datetime"):
        return times_read(given, dtype)
    if found == pl.String and text:
        return _from_text(given, column, dtype)
    match column.kind:
        case "int" if found.is_integer() or found.is_float() or found.is_decimal():
            return _whole(given, dtype)
        case "float" if found.is_numeric():
            return _narrowed(given.cast(dtype, strict=False), given)
        case "str" if isinstance(found, pl.Categorical | pl.Enum):
            return given.cast(pl.String)
        case "date" if isinstance(found, pl.Datetime):
            day = given.dt.date()
            return day.set(given.dt.replace_time_zone(None) != day.cast(pl.Datetime(found.time_unit)), None)
        case "datetime" if found == pl.Date or (isinstance(found, pl.Datetime) and not _zone(given, dtype)):
            return given.cast(dtype, strict=False)
    return None


def _from_text(given: pl.Series, column: Column, dtype: pl.DataType) -> pl.Series | None:
    if column.kind == "int":
        taken = given.cast(dtype, strict=False)
        if taken.null_count() == given.null_count():
            return taken
        return taken.fill_null(_whole(given.cast(pl.Float64, strict=False), dtype))  # 2.0 is a whole number too
    if column.kind == "float":
        return _narrowed(given.cast(dtype, strict=False), given)
    if column.kind == "bool":
        return given.str.to_lowercase().replace_strict(_TRUTHS, default=None, return_dtype=pl.Boolean)
    return None


def _whole(given: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return numbers as integers, with nulls for those that are not whole or too large."""
    taken = given.cast(dtype, strict=False)
    if given.dtype.is_integer():
        return taken
    return taken.set((given != given.floor()).fill_null(False), None)


def _narrowed(taken: pl.Series, given: pl.Series) -> pl.Series:
    """Return 32-bit floats with nulls for what is infinite only in them."""
    if taken.dtype != pl.Float32 or not taken.is_infinite().any():
        return taken
    finite = given.cast(pl.Float64, strict=False).is_finite()
    return taken.set((taken.is_infinite() & finite).fill_null(False), None)


def _zone(given: pl.Series, dtype: pl.DataType | None) -> str:
    """Return what is wrong with the time zone of a column, in the words that `wanted` knows."""
    if not isinstance(dtype, pl.Datetime):
        return ""
    has_zone = isinstance(given.dtype, pl.Datetime) and given.dtype.time_zone is not None
    if has_zone == (dtype.time_zone is not None):
        return ""
    return "no timezone" if has_zone else "timezone component"


def _reason(value: Any, column: Column) -> str:
    """Return why a value does not fit, in the words that `wanted` knows: it is a number, and too large."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return ""
    if column.kind == "int" and column.dtype in INTEGERS and number == number // 1:
        return "<="
    return "<=" if column.kind == "float" else ""


def _problem(row: int | None, column: Column, found: str, right: str) -> dict[str, Any]:
    return {"row": row, "field": column.name, "found": found, "wanted": right}


def _shown(value: Any) -> str:
    try:
        return shown(value)
    except (TypeError, ValueError):
        return str(value)[:60]

"""Rows that come as columns, or as values without names, in the plain values that other protocols know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain.serving.requests import MAX_PROBLEMS, unfit, wanted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.data.schema import Column
    from drivetrain.serving.requests import Reader, Row

NUMERIC = ("bool", "int", "float")
# The kinds of column that take a number which is written in another way.
_COERCED = ("bool", "int")


def unnamed(reader: Reader, width: int, *, numeric: bool = False) -> list[str] | None:
    """Return which columns so many values without names are, in the signature's order.

    They are all columns, all but those that a client need not know, such as the key, or only those that must be given;
    or the numeric ones of these. None where no such choice has this width.

    >>> from drivetrain.data.schema import Column
    >>> from drivetrain.serving.requests import Reader
    >>> numbers = [Column(name=name, kind="int", dtype="Int64", nullable=name == "b") for name in "abc"]
    >>> unnamed(Reader(numbers), 3), unnamed(Reader(numbers), 2), unnamed(Reader(numbers), 1)
    (['a', 'b', 'c'], ['a', 'c'], None)
    """
    if width > len(reader.names):
        return None
    asked = width, numeric
    if asked not in reader.unnamed:
        reader.unnamed[asked] = _choice(reader, width, [NUMERIC] if numeric else [None, NUMERIC])
    return reader.unnamed[asked]


def _choice(reader: Reader, width: int, choices: Sequence[tuple[str, ...] | None]) -> list[str] | None:
    required = [name for name, may_lack in zip(reader.names, reader.may_lack, strict=True) if not may_lack]
    for kinds in choices:
        names = [column.name for column in reader.columns if kinds is None or column.kind in kinds]
        needed = [name for name in names if name not in reader.optional]
        while len(names) > width and names[-1] in reader.optional:
            names.pop()  # the columns that only a challenger knows stand last
        for choice in (names, needed, [name for name in needed if name in required]):
            if len(choice) == width:
                return choice
    return None


def from_columns(reader: Reader, columns: Mapping[str, Any], rows: int) -> list[Row]:
    """Return the rows that columns of values make, each a list or an array with one dimension.

    What loses nothing is taken: 2.0 for a whole number, 0 and 1 for a truth value, NaN for null where null may be.

    Raises:
        RequestError: 422; each field that is missing, or row and field that does not fit, is named.

    >>> from drivetrain.data.schema import Column
    >>> from drivetrain.serving.requests import Reader
    >>> from_columns(Reader([Column(name="stops", kind="int", dtype="Int32")]), {"stops": [1, 2.0]}, 2)
    [(1,), (2,)]
    """
    missing = [
        {"row": None, "field": column.name, "found": "nothing", "wanted": wanted(column)}
        for column, may_lack in zip(reader.columns, reader.may_lack, strict=True)
        if column.name not in columns and not may_lack
    ]
    if missing:
        raise unfit(missing[:MAX_PROBLEMS], more=len(missing) > MAX_PROBLEMS)
    nothing = [None] * rows
    values = [
        nothing
        if column.name not in columns
        else columns[column.name]
        if column.kind not in _COERCED and type(columns[column.name]) is list
        else _fitted(column, may_lack, columns[column.name])
        for column, may_lack in zip(reader.columns, reader.may_lack, strict=True)
    ]
    return reader.checked(list(zip(*values, strict=True)))


def from_rows(reader: Reader, rows: list[Row]) -> list[Row]:
    """Return rows that have a value for each column, in the reader's order; what loses nothing is taken here too.

    Raises:
        RequestError: 422; each row and field that does not fit is named.

    >>> from drivetrain.data.schema import Column
    >>> from drivetrain.serving.requests import Reader
    >>> from_rows(Reader([Column(name="stops", kind="int", dtype="Int32")]), [(1,), (2.0,)])
    [(1,), (2,)]
    """
    if rows and any(column.kind in _COERCED for column in reader.columns):
        columns = [list(values) for values in zip(*rows, strict=True)]
        return from_columns(reader, dict(zip(reader.names, columns, strict=True)), len(rows))
    return reader.checked(rows)


def _fitted(column: Column, may_lack: bool, values: Any) -> list[Any]:
    """Return the values of a column as JSON would have them, where that loses nothing."""
    found: list[Any]
    if isinstance(values, np.ndarray):
        found = values.tolist()
        if may_lack and values.dtype.kind == "f" and np.isnan(values).any():
            found = [None if value != value else value for value in found]
    else:
        found = values
    if column.kind == "int":
        return [int(value) if isinstance(value, float) and value.is_integer() else value for value in found]
    if column.kind == "bool":
        return [bool(value) if value in (0, 1) else value for value in found]
    return found

"""Rows of requests as tables, in the exact types of a signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from drivetrain.data.schema import dtype_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.data.schema import Column
    from drivetrain.serving.requests import Row


def schema_of(columns: Sequence[Column]) -> dict[str, Any]:
    """Return the exact types of the columns of requests, each None where its values tell it."""
    return {column.name: exact(column) for column in columns}


def frame_of(schema: dict[str, Any], rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows of request values as a frame of the types that `schema_of` gives."""
    return pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)


def exact(column: Column) -> pl.DataType | None:
    """Return the type of a column, or None where its values tell it."""
    return None if column.kind == "other" else dtype_of(column)


def times_read(series: pl.Series, dtype: pl.DataType | None) -> pl.Series:
    """Return dates and times that were written as text as what they are; what is no time becomes null.

    >>> times_read(pl.Series(["2026-01-31"]), pl.Date()).to_list()
    [datetime.date(2026, 1, 31)]
    """
    if series.dtype != pl.String:
        return series
    if dtype == pl.Date:
        return series.str.to_date(strict=False)
    if not isinstance(dtype, pl.Datetime):
        return series
    if dtype.time_zone is None:
        return series.str.to_datetime(time_unit=dtype.time_unit, strict=False)
    read = series.str.to_datetime(time_unit=dtype.time_unit, time_zone="UTC", strict=False)
    return read.dt.convert_time_zone(dtype.time_zone)

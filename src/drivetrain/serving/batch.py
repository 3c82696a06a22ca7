"""Batch scoring: the rows of a file, or of a table, with the model and features function that the server uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from drivetrain.errors import UsageError, nearest
from drivetrain.serving.predictor import Predictor
from drivetrain.serving.table import exact, times_read

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.registry.version import Version
    from drivetrain.store.store import Store

CHUNK_ROWS = 50_000


def score(store: Store, version: Version, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with the column `prediction` added, and `probabilities` for several classes.

    Columns that the version does not ask for stay as they are and are not shown to it.

    Raises:
        UsageError: a column is missing, holds nulls where none may be, or has another type.
    """
    predictor = Predictor.load(store, version)
    parts = [_scored(predictor, piece) for piece in frame.iter_slices(CHUNK_ROWS)]
    return pl.concat(parts) if parts else frame.with_columns(pl.lit(None, pl.Float64).alias("prediction"))


def score_file(store: Store, version: Version, source: Path, target: Path) -> int:
    """Score the rows of a .parquet, .csv or .ndjson file into another one, and return how many there were.

    Raises:
        UsageError: the file's kind is not known, or its rows do not fit the version.
    """
    readers: dict[str, Any] = {".parquet": pl.read_parquet, ".csv": _read_csv, ".ndjson": pl.read_ndjson}
    for path in (source, target):
        if path.suffix not in readers:
            raise UsageError(f"{path} is of no known kind", remedy=f"use one of {', '.join(readers)}")
    if not source.is_file():
        raise UsageError(f"there is no file {source}", remedy="name a file of rows with --input")
    found = score(store, version, readers[source.suffix](source))
    # Written beside the target and then renamed: nobody meets half a file.
    scratch = target.with_name(f".{target.name}.partial")
    if target.suffix == ".parquet":
        found.write_parquet(scratch)
    elif target.suffix == ".csv":
        if "probabilities" in found.columns:
            found = found.unnest("probabilities")
        found.write_csv(scratch)
    else:
        found.write_ndjson(scratch)
    scratch.replace(target)
    return found.height


def _read_csv(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, try_parse_dates=True, infer_schema_length=None)


def _scored(predictor: Predictor, frame: pl.DataFrame) -> pl.DataFrame:
    asked = _fitted(predictor, frame)
    answers = predictor.answer(asked.rows())
    found = frame.with_columns(pl.Series("prediction", answers.predictions))
    if answers.probabilities is not None:
        names = [str(each) for each in predictor.classes]
        shares = pl.DataFrame(answers.probabilities, schema=names, orient="row").to_struct("probabilities")
        found = found.with_columns(shares)
    return found


def _fitted(predictor: Predictor, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of the request, in its types."""
    columns = []
    for column, may_lack in zip(predictor.reader.columns, predictor.reader.may_lack, strict=True):
        dtype = exact(column)
        if column.name not in frame.columns:
            if not may_lack:
                message = f"{predictor.version.id} needs the column {column.name!r}"
                raise UsageError(message, remedy=nearest(column.name, frame.columns))
            columns.append(pl.Series(column.name, [None] * len(frame), dtype=dtype))
            continue
        given = frame[column.name]
        series = times_read(given, dtype)
        if series.null_count() > given.null_count():
            raise UsageError(f"the column {column.name!r} has text that is no {column.kind}")
        try:
            series = series if dtype is None or series.dtype == dtype else series.cast(dtype)
        except pl.exceptions.PolarsError as error:
            raise UsageError(
                f"the column {column.name!r} is {given.dtype}, and {predictor.version.id} takes {column.dtype}",
                remedy="cast it first",
            ) from error
        if series.null_count() and not may_lack:
            raise UsageError(f"the column {column.name!r} has {series.null_count():,} nulls, and must have none")
        columns.append(series)
    return pl.DataFrame(columns)

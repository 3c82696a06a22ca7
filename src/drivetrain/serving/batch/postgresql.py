"""Tables of PostgreSQL, by the Arrow driver of ADBC, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from drivetrain.errors import MissingExtra, StoreUnavailable, UsageError
from drivetrain.serving.batch.table import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator


def batches(url: str, sql: str) -> Iterator[pl.DataFrame]:
    """Yield the rows of a query in one transaction; there is a first frame even where there is no row.

    Raises:
        MissingExtra: the driver is not installed.
        StoreUnavailable: the database cannot be reached.
        UsageError: it refuses the query.
    """
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        raise MissingExtra(library=error.name or "", extra="postgres", purpose="reading PostgreSQL") from error
    try:
        connection = dbapi.connect(url)
    except dbapi.Error as error:
        raise StoreUnavailable(
            f"{without_password(url)} cannot be reached: {_first_line(error)}",
            remedy="is it up, is the password right?",
        ) from error
    with connection, connection.cursor() as cursor:
        try:
            cursor.execute(sql)
            reader = cursor.fetch_record_batch()
            yield _plain(reader.schema.empty_table())
            for batch in reader:
                yield _plain(batch)
        except dbapi.Error as error:
            raise UsageError(f"{without_password(url)} cannot answer {sql!r}: {_first_line(error)}") from error


def _plain(batch: Any) -> pl.DataFrame:
    """Return rows with what Arrow has no type for, such as `numeric`, as text."""
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(
        column.ext.storage() for column in frame.iter_columns() if isinstance(column.dtype, pl.BaseExtension)
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]

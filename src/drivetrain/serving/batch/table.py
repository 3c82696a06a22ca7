"""Tables of databases: all rows are first copied out, in one transaction, so that a job can go on after a crash."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import polars as pl
from polars.io.plugins import register_io_source

from drivetrain.errors import NotFound, UsageError
from drivetrain.serving.batch.format import sink
from drivetrain.serving.batch.source import File

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BATCH_ROWS = 20_000


class Query(NamedTuple):
    """What is asked of a database: `url` is its address, `sql` the query, `name` what people call it."""

    url: str
    sql: str
    name: str


def query_of(text: str) -> Query:
    """Return what an address such as `sqlite:///rows.db?table=visits` asks for; `query=SELECT …` asks for more.

    Raises:
        UsageError: it names neither a table nor a query.

    >>> query_of("sqlite:///rows.db?table=visits").sql
    'SELECT * FROM "visits"'
    """
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query))
    table, sql = options.pop("table", ""), options.pop("query", "")
    if bool(table) == bool(sql):
        raise UsageError(
            f"{without_password(text)} names no table", remedy="add ?table=NAME, or ?query= and a SELECT, quoted"
        )
    if table:
        quoted = ".".join('"' + each.replace('"', '""') + '"' for each in table.split("."))
        sql = f"SELECT * FROM {quoted}"  # noqa: S608  # it is quoted, and whoever asks may ask for anything
    url = text.partition("?")[0] + (f"?{urlencode(options)}" if options else "")
    return Query(url, sql, table or "query")


def without_password(text: str) -> str:
    """Return an address as it may be kept and shown.

    >>> without_password("postgresql://ann:secret@db/shop?table=visits")
    'postgresql://ann@db/shop?table=visits'
    """
    parts = urlsplit(text)
    if not parts.password:
        return text
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}"))


def copied(text: str, folder: Path, written_out: Mapping[str, str]) -> File:
    """Return a file with all rows of a table, which is copied into `folder` unless that has been done.

    Columns of `written_out`, which has their kinds, are copied as text, so that what does not fit is told for its row.

    Raises:
        NotFound: there is no such database or table.
        UsageError: the query cannot be carried out, or a column changes its type on the way.
        MissingExtra: the database's driver is not installed.
    """
    query = query_of(text)
    path = folder / "rows.arrow"
    if not path.exists():
        scratch = path.with_suffix(".partial")
        batches = _sqlite(query, written_out) if query.url.startswith("sqlite:") else _postgresql(query)
        first = next(batches)

        def rows(*_: Any) -> Iterator[pl.DataFrame]:
            yield first
            yield from batches

        sink(register_io_source(rows, schema=first.schema), str(scratch), "ipc")
        scratch.replace(path)
    state = path.stat()
    return File(
        path=str(path.absolute()),
        name=query.name,
        format="ipc",
        size_bytes=state.st_size,
        stamp=f"{state.st_size}-{state.st_mtime_ns}",
        is_text=True,
    )


def _postgresql(query: Query) -> Iterator[pl.DataFrame]:
    from drivetrain.serving.batch.postgresql import batches

    return batches(query.url, query.sql)


def _sqlite(query: Query, written_out: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    path = Path(unquote(query.url.partition(":///")[2]))
    if not path.is_file():
        raise NotFound(
            kind="database", name=str(path), remedy="a relative path follows three slashes, an absolute one four"
        )
    # By its own path: one that looks like an option of SQLite's addresses is none. Polars takes the rows from a thread
    # of its own, and only there.
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
    ) as connection:
        try:
            cursor = connection.execute(query.sql)
        except sqlite3.Error as error:
            raise UsageError(f"{path.name} cannot answer {query.sql!r}: {error}") from error
        names = [each[0] for each in cursor.description]
        schema: dict[str, Any] = {}
        while True:
            try:
                found = cursor.fetchmany(BATCH_ROWS)
            except sqlite3.Error as error:
                raise UsageError(f"{path.name} cannot be read: {error}") from error
            columns = list(zip(*found, strict=True)) if found else [()] * len(names)
            if not schema:
                schema = {
                    name: pl.String() if name in written_out else _type_of(values)
                    for name, values in zip(names, columns, strict=True)
                }
            elif not found:
                return
            yield pl.DataFrame(
                [
                    _column(name, _truths(values) if written_out.get(name) == "bool" else values, schema[name])
                    for name, values in zip(names, columns, strict=True)
                ]
            )
            if not found:
                return


def _type_of(values: Any) -> pl.DataType:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return pl.Int64()
    if kinds and kinds <= {int, float}:
        return pl.Float64()
    return pl.Binary() if kinds == {bytes} else pl.String()


def _truths(values: Any) -> list[Any]:
    """Return truth values, which SQLite has as 0 and 1, as they are written elsewhere."""
    return [{0: "false", 1: "true"}.get(value, value) for value in values]


def _column(name: str, values: Any, dtype: pl.DataType) -> pl.Series:
    if dtype == pl.String:
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=dtype)
    try:
        return pl.Series(name, values, dtype=dtype)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise UsageError(
            f"the column {name!r} begins as {dtype} and does not go on so", remedy="CAST it in a ?query="
        ) from error

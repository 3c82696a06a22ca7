"""Rows that are written as text: whole records are cut out of a stream, and read a block at a time."""

from __future__ import annotations

import csv
import gzip
import io
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

import polars as pl

from drivetrain.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drivetrain.serving.batch.source import File

BLOCK_BYTES = 4 << 20
# No record is longer; a quote that is never closed would take the whole file for one.
MOST_BYTES = 256 << 20
# So many objects tell which columns an NDJSON file has.
SAMPLE_ROWS = 10_000
_NEWLINE, _QUOTE = b"\n", b'"'

Schema = dict[str, pl.DataType]


@contextmanager
def opened(file: File) -> Iterator[IO[bytes]]:
    """Give the text of a file, unpacked, while the block runs."""
    if file.is_local:
        raw: IO[bytes] = open(file.path, "rb", buffering=1 << 20)  # noqa: SIM115  # closed below
    else:
        from drivetrain.serving.batch.obstore import opened as from_bucket

        raw = from_bucket(file.path)
    with raw:
        # A GzipFile has all of IO's methods that are used here, and is none for the types.
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if file.is_packed else raw


def blocks(stream: IO[bytes], *, name: str, quoted: bool, most: int | None = None) -> Iterator[bytes]:
    r"""Yield the bytes of a stream, or the first `most` of them, in blocks of whole records.

    With `quoted`, a line break between double quotes ends no record.

    Raises:
        UsageError: a quote is never closed.

    >>> list(blocks(io.BytesIO(b'a,"b\n"\nc,d'), name="rows.csv", quoted=True))
    [b'a,"b\n"\n', b'c,d']
    """
    rest, left = b"", most
    while True:
        data = stream.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left))
        if not data:
            if rest:
                yield rest
            return
        if left is not None:
            left -= len(data)
        data = rest + data
        cut = _last_end(data, quoted)
        if cut:
            yield data[:cut]
        rest = data[cut:]
        if len(rest) > MOST_BYTES:
            raise UsageError(
                f"{name} has a record of more than {MOST_BYTES >> 20} MiB, which begins {rest[:60]!r}",
                remedy="close the quote that was opened there",
            )


def record_ends(file: File, start: int, targets: Iterator[int], *, quoted: bool) -> Iterator[int]:
    """Yield, for each target in rising order, the first place from there on at which a record ends."""
    with opened(file) as stream:
        stream.seek(start)
        place = start
        for target in targets:
            if target <= place:
                continue
            if quoted:
                odd = _has_open_quote(stream, target - place)
                place = target + _to_end(stream, odd)
                stream.seek(place)
            else:
                stream.seek(target - 1)
                place = target - 1 + len(stream.readline())
            if place >= file.size_bytes:
                return
            yield place


def count_records(data: bytes, *, quoted: bool) -> int:
    r"""Return how many records a block holds, the last of which may lack its line break.

    >>> count_records(b'a,"b\n"\nc,d', quoted=True)
    2
    """
    ends = data.count(_NEWLINE)
    if quoted and _QUOTE in data:
        pieces = data.split(_QUOTE)
        ends = sum(piece.count(_NEWLINE) for piece in pieces[::2])
    return ends + (not data.endswith(_NEWLINE) and bool(data))


def header_of(file: File, separator: str) -> tuple[list[str], int]:
    """Return the names of a CSV file's columns, and the place where its rows begin."""
    with opened(file) as stream:
        line = stream.readline()
        while line.count(_QUOTE) % 2 and (more := stream.readline()):
            line += more
    text = line.decode("utf-8-sig", errors="replace")
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{file.name} has two columns named {twice!r}", remedy="rename one of them")
    if not any(names):
        raise UsageError(f"{file.name} has no line with the names of its columns", remedy="write one above its rows")
    return names, len(line)


def read_csv(data: bytes, schema: Schema, separator: str) -> tuple[pl.DataFrame, dict[int, str]]:
    """Return the records of a block as text, and what is wrong with those that are none, by their place."""
    try:
        frame = pl.read_csv(
            data, has_header=False, schema=schema, separator=separator, infer_schema=False, raise_if_empty=False
        )
        return frame, {}
    except pl.exceptions.PolarsError:
        return _csv_by_record(data, schema, separator)


def read_ndjson(data: bytes, schema: Schema) -> tuple[pl.DataFrame, dict[int, str]]:
    """Return the objects of a block, and what is wrong with the lines that are none, by their place."""
    try:
        return pl.read_ndjson(io.BytesIO(data), schema=schema), {}
    except pl.exceptions.PolarsError:
        return _ndjson_by_line(data, schema)


def ndjson_schema(file: File, as_text: Mapping[str, Any]) -> Schema:
    """Return the columns of the first objects of a file; those of `as_text` are read as they were written."""
    with opened(file) as stream:
        first = next(blocks(stream, name=file.name, quoted=False), b"")
    lines = first.splitlines()[:SAMPLE_ROWS]
    if not lines:
        return {}
    try:
        found = _inferred(lines)
    except pl.exceptions.PolarsError:
        found = _inferred([line for line in lines if _is_object(line)])
    return {name: pl.String() if name in as_text else dtype for name, dtype in found.items()}


def _inferred(lines: list[bytes]) -> Mapping[str, pl.DataType]:
    return pl.read_ndjson(io.BytesIO(b"\n".join(lines)), infer_schema_length=None).schema


def _csv_by_record(data: bytes, schema: Schema, separator: str) -> tuple[pl.DataFrame, dict[int, str]]:
    rows: list[list[str | None]] = []
    broken: dict[int, str] = {}
    width = len(schema)
    text = data.decode("utf-8", errors="surrogateescape")
    for number, record in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=separator)):
        if len(record) > width:
            broken[number] = f"{len(record)} values for {width} columns"
        elif any(not value.isascii() and _is_no_text(value) for value in record):
            broken[number] = "bytes that are no UTF-8"
        values: list[str | None] = [] if number in broken else [value or None for value in record]
        rows.append(values + [None] * (width - len(values)))
    return pl.DataFrame(rows, schema=schema, orient="row"), broken


def _ndjson_by_line(data: bytes, schema: Schema) -> tuple[pl.DataFrame, dict[int, str]]:
    frames: list[pl.DataFrame] = []
    broken: dict[int, str] = {}
    lines = [line for line in data.splitlines() if line.strip()]

    def read(start: int, stop: int) -> None:
        """Read the lines of a range, by halves where that fails, so that the good ones are read together."""
        try:
            frames.append(pl.read_ndjson(io.BytesIO(b"\n".join(lines[start:stop])), schema=schema))
        except pl.exceptions.PolarsError as error:
            if stop - start > 1:
                middle = (start + stop) // 2
                read(start, middle)
                read(middle, stop)
                return
            broken[start] = str(error).partition("\n")[0][:200]
            frames.append(pl.DataFrame({name: [None] for name in schema}, schema=schema))

    if lines:
        read(0, len(lines))
    return (pl.concat(frames) if frames else pl.DataFrame(schema=schema)), broken


def _is_object(line: bytes) -> bool:
    try:
        pl.read_ndjson(io.BytesIO(line))
    except pl.exceptions.PolarsError:
        return False
    return True


def _is_no_text(value: str) -> bool:
    return any("\udc80" <= sign <= "\udcff" for sign in value)


def _last_end(data: bytes, quoted: bool) -> int:
    """Return the place behind the last line break that ends a record; `data` begins with a record."""
    end = data.rfind(_NEWLINE)
    if not quoted:
        return end + 1
    quotes = data.count(_QUOTE, 0, end) if end > 0 else 0
    while end > 0 and quotes % 2:
        # It stands between quotes: so do all line breaks back to the quote that was opened.
        opening = data.rfind(_QUOTE, 0, end)
        end, quotes = data.rfind(_NEWLINE, 0, opening), quotes - 1
        quotes -= data.count(_QUOTE, end + 1, opening)
    return end + 1


def _has_open_quote(stream: IO[bytes], length: int) -> bool:
    quotes = 0
    while length > 0 and (data := stream.read(min(length, BLOCK_BYTES))):
        quotes += data.count(_QUOTE)
        length -= len(data)
    return quotes % 2 == 1


def _to_end(stream: IO[bytes], odd: bool) -> int:
    """Return how many bytes further the record ends."""
    read = 0
    while line := stream.readline():
        read += len(line)
        odd ^= line.count(_QUOTE) % 2 == 1
        if not odd and line.endswith(_NEWLINE):
            break
    return read

"""The parts of a job: what is read, answered and written at once, and never again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import polars as pl

from drivetrain.errors import UsageError, nearest
from drivetrain.serving.batch.format import TEXT
from drivetrain.serving.batch.text import (
    Schema,
    blocks,
    count_records,
    header_of,
    ndjson_schema,
    opened,
    read_csv,
    read_ndjson,
    record_ends,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivetrain.serving.batch.job import Settings
    from drivetrain.serving.batch.source import File
    from drivetrain.serving.requests import Reader

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
SEPARATORS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows of a file: those from `start` to `stop`, which are rows, or bytes in a text file; None is the end.

    `first_row` is the number of the first in its file, where that is known. `folders` has one row, with the columns
    that stand in the names of folders. `listed` are the rows themselves where these are files, such as images. `name`
    is that of its file in an output that is a folder, without the ending.
    """

    number: int
    file: File
    schema: Schema
    folders: pl.DataFrame
    start: int
    stop: int | None
    first_row: int | None
    most: int | None
    name: str
    listed: pl.DataFrame | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that its rows have, with their types."""
        return {**self.schema, **self.folders.schema}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All parts of a job in the order of the rows, and how many rows those are where that is known."""

    files: list[File]
    parts: list[Part]
    rows: int | None


def plan_of(files: Sequence[File], settings: Settings, reader: Reader) -> Plan:
    """Return the parts of some files.

    Raises:
        UsageError: a file has no header, or cannot be read as what its suffix says.
    """
    as_numbers = _numbers_in_folders(files)
    left, total = settings.limit, 0
    parts: list[Part] = []
    is_known = True
    for file in files:
        if left == 0:
            break
        schema, begin = _head(file, reader)
        folders = pl.DataFrame(
            [
                pl.Series(name, [value], dtype=pl.String).cast(pl.Int64 if name in as_numbers else pl.String)
                for name, value in _folders(file).items()
            ]
        )
        ranges, rows = _ranges(file, begin, settings.part_rows, left)
        if rows is None:
            is_known = False
        else:
            total += rows
            left = None if left is None else left - rows
        stem = PurePosixPath(file.name).name.partition(".")[0]
        for place, (start, stop, most) in enumerate(ranges):
            suffix = f"-{place:05}" if len(ranges) > 1 else ""
            parts.append(
                Part(
                    number=len(parts), file=file, schema=schema, folders=folders, start=start, stop=stop, most=most,
                    first_row=start if file.format in ("parquet", "ipc") else 0 if place == 0 else None,
                    name=f"{file.folder}/{stem}{suffix}".lstrip("/"),
                )
            )  # fmt: skip
    return Plan(files=list(files), parts=_told_apart(parts), rows=total if is_known else None)


def scan(file: File) -> pl.LazyFrame:
    """Return a file in a columnar format, which is read when needed."""
    if file.format == "parquet":
        return pl.scan_parquet(file.path, hive_partitioning=False, glob=False)
    return pl.scan_ipc(file.path, hive_partitioning=False, glob=False)


def chunks(part: Part, rows: int) -> Iterator[tuple[pl.DataFrame, dict[int, str]]]:
    """Yield the rows of a part, at most `rows` at a time, and what is wrong with records that could not be read."""
    if part.listed is not None:
        for frame in part.listed.iter_slices(rows):
            yield frame, {}
        return
    if part.file.format in ("parquet", "ipc"):
        lazy = scan(part.file).slice(part.start, None if part.stop is None else part.stop - part.start)
        for batch in lazy.collect_batches(chunk_size=rows, maintain_order=True):
            for piece in batch.iter_slices(rows):
                yield _with_folders(piece, part), {}
        return
    left = part.most
    quoted = part.file.format != "ndjson"
    with opened(part.file) as stream:
        _skip(stream, part)
        most = None if part.stop is None else part.stop - part.start
        for data in blocks(stream, name=part.file.name, quoted=quoted, most=most):
            if quoted:
                frame, broken = read_csv(data, part.schema, SEPARATORS[part.file.format])
            else:
                frame, broken = read_ndjson(data, part.schema)
            if left is not None:
                frame, broken = frame.head(left), {row: why for row, why in broken.items() if row < left}
                left -= frame.height
            for start in range(0, frame.height, rows):
                piece = _with_folders(frame.slice(start, rows), part)
                yield piece, {row - start: why for row, why in broken.items() if 0 <= row - start < rows}
            if left == 0:
                return


def text_columns(part: Part) -> set[str]:
    """Return the columns in which numbers are written out."""
    if part.file.is_text:
        return {name for name, dtype in part.columns.items() if dtype == pl.String}
    return {name for name, dtype in part.folders.schema.items() if dtype == pl.String}


def missing_columns(plan: Plan, reader: Reader) -> dict[str, list[str]]:
    """Return the columns that the version needs and a file lacks, by the file's name."""
    needed = [name for name, may_lack in zip(reader.names, reader.may_lack, strict=True) if not may_lack]
    found = {part.file.name: [name for name in needed if name not in part.columns] for part in plan.parts}
    return {name: lacking for name, lacking in found.items() if lacking}


def check_columns(plan: Plan, settings: Settings, *, answers: Sequence[str], form: str, as_one: bool) -> None:
    """Make sure that the columns to keep are there, and that one file can hold all rows; `answers` are its other names.

    Raises:
        UsageError: they cannot be written as asked.
    """
    first = plan.parts[0] if plan.parts else None
    for part in plan.parts:
        kept = list(part.columns) if settings.columns is None else settings.columns
        for name in kept:
            if name not in part.columns:
                raise UsageError(f"{part.file.name} has no column {name!r}", remedy=nearest(name, list(part.columns)))
        clash = next((name for name in kept if name in answers), None)
        if clash is not None:
            raise UsageError(
                f"{part.file.name} has a column {clash!r}, as the output will", remedy="leave it out with --columns"
            )
        nested = next((name for name in kept if not _can_hold(form, part.columns[name])), None)
        if nested is not None:
            raise UsageError(
                f"{part.file.name} has {nested!r} as {part.columns[nested]}, which a file of {form} cannot hold",
                remedy="leave it out with --columns, or write Parquet",
            )
        if as_one and first is not None and [part.columns.get(name) for name in kept] != [
            first.columns.get(name) for name in kept
        ]:  # fmt: skip
            differing = next(name for name in kept if part.columns.get(name) != first.columns.get(name))
            raise UsageError(
                f"{part.file.name} has {differing!r} as {part.columns[differing]}, and {first.file.name} as "
                f"{first.columns.get(differing, 'nothing')}: one file cannot hold both",
                remedy="write into a folder, or choose columns with --columns",
            )


def _can_hold(form: str, dtype: pl.DataType) -> bool:
    return form not in TEXT or (dtype != pl.Binary and not (form in SEPARATORS and dtype.is_nested()))


def _head(file: File, reader: Reader) -> tuple[Schema, int]:
    """Return the columns of a file, and where its rows begin."""
    try:
        if file.format in SEPARATORS:
            names, begin = header_of(file, SEPARATORS[file.format])
            return {name: pl.String() for name in names}, begin
        if file.format == "ndjson":
            as_text = {column.name: None for column in reader.columns if column.kind != "other"}
            return ndjson_schema(file, as_text), 0
        return cast("Schema", dict(scan(file).collect_schema())), 0
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        cause = str(error).partition("\n")[0][:200]
        raise UsageError(f"{file.name} cannot be read as {file.format}: {cause}", remedy="is it whole?") from error


def _ranges(
    file: File, begin: int, part_rows: int, left: int | None
) -> tuple[list[tuple[int, int | None, int | None]], int | None]:
    """Return where the parts of a file begin and end, how many rows they may have, and all rows if that is known."""
    if file.format in ("parquet", "ipc"):
        rows = int(scan(file).select(pl.len()).collect().item())
        rows = rows if left is None else min(rows, left)
        count = max(1, round(rows / part_rows))
        edges = [rows * place // count for place in range(count + 1)]
        return [(start, stop, None) for start, stop in pairwise(edges)], rows
    quoted = file.format != "ndjson"
    if left is not None:
        rows = _counted(file, begin, quoted, left)
        return [(begin, None, rows)], rows
    if not file.is_local or file.is_packed:
        return [(begin, None, None)], None
    with opened(file) as stream:
        stream.seek(begin)
        sample = next(blocks(stream, name=file.name, quoted=quoted), b"")
    part_bytes = max(1, len(sample) * part_rows // max(1, count_records(sample, quoted=quoted)))
    # A last part of a few rows is no part of its own.
    targets = iter(range(begin + part_bytes, file.size_bytes - part_bytes // 2, part_bytes))
    edges = [begin, *record_ends(file, begin, targets, quoted=quoted)]
    return [(start, stop, None) for start, stop in zip(edges, [*edges[1:], None], strict=True)], None


def _counted(file: File, begin: int, quoted: bool, most: int) -> int:
    rows = 0
    with opened(file) as stream:
        stream.read(begin)
        for data in blocks(stream, name=file.name, quoted=quoted):
            rows += count_records(data, quoted=quoted)
            if rows >= most:
                return most
    return rows


def _skip(stream: Any, part: Part) -> None:
    if part.file.is_local and not part.file.is_packed:
        stream.seek(part.start)
    else:
        stream.read(part.start)


def _folders(file: File) -> dict[str, str | None]:
    """Return the columns in the names of folders, such as `month=1`."""
    pairs = [segment.partition("=") for segment in file.folder.split("/") if "=" in segment]
    return {name: None if value == _NO_VALUE else unquote(value) for name, _, value in pairs}


def _numbers_in_folders(files: Sequence[File]) -> set[str]:
    """Return the columns in folders' names whose values are all whole numbers."""
    values: dict[str, list[str | None]] = {}
    for file in files:
        for name, value in _folders(file).items():
            values.setdefault(name, []).append(value)
    return {
        name
        for name, found in values.items()
        if all(value is None or value.removeprefix("-").isdecimal() for value in found)
    }


def _with_folders(frame: pl.DataFrame, part: Part) -> pl.DataFrame:
    if part.folders.is_empty():
        return frame
    return frame.with_columns(
        pl.lit(column.item(), dtype=column.dtype).alias(column.name) for column in part.folders.iter_columns()
    )


def _told_apart(parts: list[Part]) -> list[Part]:
    """Return the parts with a name each; `a.csv` and `a.parquet` in one folder would both be `a`."""
    names = [part.name for part in parts]
    if len(set(names)) == len(names):
        return parts
    return [Part(**{**vars(part), "name": f"{part.name}-{part.number:05}"}) for part in parts]

"""The formats that rows are read from and written in, told by a suffix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from drivetrain.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

Format = Literal["parquet", "ipc", "csv", "tsv", "ndjson", "image"]
SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".ipc": "ipc",
    ".feather": "ipc",
    ".csv": "csv",
    ".tsv": "tsv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
}
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
PACKED = ".gz"
TEXT = ("csv", "tsv", "ndjson")
ENDINGS: dict[str, str] = {"parquet": ".parquet", "ipc": ".arrow", "csv": ".csv", "tsv": ".tsv", "ndjson": ".ndjson"}


def format_of(name: str) -> Format | None:
    """Return the format of a file by its name, or None.

    >>> format_of("rows.CSV.gz"), format_of("scored")
    ('csv', None)
    """
    plain = name.lower().removesuffix(PACKED)
    found = next((each for suffix, each in SUFFIXES.items() if plain.endswith(suffix)), None)
    return found if plain == name.lower() or found in TEXT else None


def stem_of(name: str) -> str:
    """Return the name of a file without the suffix that tells its format.

    >>> stem_of("scored.2026-11-01.csv.gz"), stem_of("rows.PQ")
    ('scored.2026-11-01', 'rows')
    """
    plain = name[: -len(PACKED)] if name.lower().endswith(PACKED) else name
    suffix = next((each for each in SUFFIXES if plain.lower().endswith(each)), "")
    return plain[: len(plain) - len(suffix)]


def input_format(name: str) -> Format | None:
    """Return the format of a file that is read, which may be an image and so a row by itself, or None.

    >>> input_format("cats/1.JPG"), input_format("notes.txt")
    ('image', None)
    """
    return "image" if name.lower().endswith(IMAGES) else format_of(name)


def unknown_format(name: str) -> UsageError:
    """Return the error for a name that tells no format."""
    return UsageError(
        f"{name} has no suffix that tells its format",
        remedy=f"the known ones are {', '.join(SUFFIXES)}, and those of text also with {PACKED}",
    )


def sink(frame: pl.LazyFrame, path: str, form: str, *, header: bool = True) -> None:
    """Write rows as they come into a file, which is on the disk when this returns."""
    options: dict[str, Any] = {"sync_on_close": "all", "maintain_order": True}
    if form == "parquet":
        frame.sink_parquet(path, **options)
    elif form == "ipc":
        frame.sink_ipc(path, compression="lz4", **options)
    elif form == "ndjson":
        frame.sink_ndjson(path, **options)
    else:
        frame.sink_csv(path, include_header=header, separator="\t" if form == "tsv" else ",", **options)

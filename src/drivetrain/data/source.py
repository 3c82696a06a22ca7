"""Reading tables from files, and knowing which files a function names."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import NotFound, UsageError, nearest
from drivetrain.system.caller import caller
from drivetrain.system.settings import find_project

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

_SUFFIXES = {
    ".parquet": "scan_parquet",
    ".pq": "scan_parquet",
    ".csv": "scan_csv",
    ".tsv": "scan_csv",
    ".csv.gz": "scan_csv",
    ".ndjson": "scan_ndjson",
    ".jsonl": "scan_ndjson",
    ".arrow": "scan_ipc",
    ".ipc": "scan_ipc",
    ".feather": "scan_ipc",
}
# The files to read in place of those that are named; a test sets it.
instead: dict[str, Path] = {}


def read(path: str | Path, **options: Any) -> pl.LazyFrame:
    r"""Return a table in Parquet, CSV, newline-delimited JSON or Arrow IPC, told by its suffix; it is read when needed.

    A relative path counts from the project's folder, the one with `drivetrain.toml`. A pattern such as
    `data/2013-*.parquet` reads all files that match, one after another. `options` go to polars' scan function.

    Raises:
        NotFound: there is no such file.
        UsageError: its suffix tells no format that is known.

    >>> import tempfile, polars as pl
    >>> file = Path(tempfile.mkdtemp()) / "flights.csv"
    >>> _ = file.write_text("carrier\nUA\n")
    >>> read(file).collect().item()
    'UA'
    """
    import polars as pl

    name = str(path)
    scan = next((scan for suffix, scan in _SUFFIXES.items() if name.lower().endswith(suffix)), None)
    if scan is None:
        raise UsageError(
            f"{name} has no suffix that tells its format", remedy=f"the known ones are {', '.join(_SUFFIXES)}"
        )
    folders = _folders(caller().file)
    files = _files(name, folders)
    if not files:
        raise _missing(folders[0] / name)
    if name.lower().endswith(".tsv"):
        options = {"separator": "\t"} | options
    elif scan == "scan_csv":
        options = {"try_parse_dates": True} | options
    table: pl.LazyFrame = getattr(pl, scan)([str(file) for file in files], **options)
    return table


def files_named_by(texts: Iterable[str], file: str) -> dict[str, Path]:
    """Return the data files that texts name, each by the text; `file` is that of the code in which they stand."""
    found = {}
    folders: list[Path] = []
    for text in sorted(texts):
        if len(text) < 1024 and "\n" not in text and text.lower().endswith(tuple(_SUFFIXES)):
            folders = folders or _folders(file)
            files = _files(text, folders)
            for each in files:
                found[text if len(files) == 1 else f"{text} → {each.name}"] = each
    return found


def _folders(file: str) -> list[Path]:
    """Return where a relative path may count from: the project of the present folder, then that of the user's file."""
    return list(dict.fromkeys([find_project().root, find_project(Path(file).parent).root]))


def _files(name: str, folders: list[Path]) -> list[Path]:
    if name in instead:
        return [instead[name]]
    if "://" in name:
        return []
    for folder in folders:
        full = folder / name
        found = [full] if full.is_file() else [Path(match) for match in sorted(glob(str(full), recursive=True))]
        found = [match for match in found if match.is_file()]
        if found:
            return found
    return []


def _missing(file: Path) -> NotFound:
    folder = file.parent
    while not folder.is_dir():
        folder = folder.parent
    near = [other.name for other in folder.iterdir() if not other.name.startswith(".")]
    return NotFound(kind="file", name=str(file), remedy=f"in {folder}, {nearest(file.name, near)}")

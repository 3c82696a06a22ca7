"""Reading tables from files, and knowing which files a function names."""

from __future__ import annotations

from functools import lru_cache
from glob import glob
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from drivetrain.errors import NotFound, UsageError, nearest
from drivetrain.system.caller import caller
from drivetrain.system.settings import find_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
# Up to here a file counts by its bytes; above, reading it for each run would cost more than what it saves.
LARGE_BYTES = 64 << 20


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


def files_named_by(function: Callable[..., Any]) -> dict[str, str]:
    """Return each data file that a function names as text, with a digest of what it holds.

    It is named in the function itself, in a default, or in a constant of its module that the function uses. A large
    file counts by its size and the time of its last change.
    """
    found = {}
    folders: list[Path] = []
    for text in sorted(set(_texts(function))):
        if len(text) < 1024 and "\n" not in text and any(text.lower().endswith(suffix) for suffix in _SUFFIXES):
            folders = folders or _folders(function.__code__.co_filename)
            files = _files(text, folders)
            for file in files:
                stat = file.stat()
                name = text if len(files) == 1 else f"{text} → {file.name}"
                found[name] = _fingerprint(str(file), stat.st_size, stat.st_mtime_ns)
    return found


def _texts(function: Callable[..., Any]) -> Iterator[str]:
    stack: list[CodeType] = [function.__code__]
    values: list[Any] = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    while stack:
        code = stack.pop()
        stack.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
        values.extend(code.co_consts)
        values.extend(function.__globals__.get(name) for name in code.co_names)
    yield from (str(value) for value in values if isinstance(value, (str, Path)))


@lru_cache(maxsize=256)
def _fingerprint(file: str, size_bytes: int, changed_ns: int) -> str:
    if size_bytes > LARGE_BYTES:
        return f"{size_bytes} bytes of {changed_ns}"
    from hashlib import file_digest

    with open(file, "rb") as opened:
        return file_digest(opened, "sha256").hexdigest()[:16]


def _folders(file: str) -> list[Path]:
    """Return where a relative path may count from: the project of the present folder, then that of the user's file."""
    return list(dict.fromkeys([find_project().root, find_project(Path(file).parent).root]))


def _files(name: str, folders: list[Path]) -> list[Path]:
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

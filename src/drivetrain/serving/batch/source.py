"""What a job reads: the files that a name, a folder, a pattern, a bucket or a dataset stands for."""

from __future__ import annotations

from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import NotFound, UsageError, nearest
from drivetrain.pipeline.run import StepRun
from drivetrain.serving.batch.format import ENDINGS, PACKED, TEXT, Format, input_format, unknown_format

if TYPE_CHECKING:
    from drivetrain.store.store import Store

BUCKETS = ("s3://", "gs://", "az://")
TABLES = ("sqlite://", "postgresql://", "postgres://")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of rows, or an image. `name` is its way from what was asked for, and `root` what that is counted from.

    Rows may name files below `root`, where it is not empty. `stamp` changes when somebody writes to the file. In one
    that `is_text`, numbers may be written out.
    """

    path: str
    name: str
    format: Format
    size_bytes: int
    stamp: str
    is_text: bool = False
    root: str = ""

    @property
    def is_local(self) -> bool:
        return "://" not in self.path

    @property
    def is_packed(self) -> bool:
        return self.path.lower().endswith(PACKED)

    @property
    def folder(self) -> str:
        """The folders between what was asked for and the file; those such as `month=1` are columns."""
        return self.name.rpartition("/")[0]


def is_table(name: str) -> bool:
    """Return whether an input is a table of a database.

    >>> is_table("sqlite:///rows.db?table=visits"), is_table("rows.csv")
    (True, False)
    """
    return name.startswith(TABLES)


def files_of(store: Store, name: str) -> list[File]:
    """Return the files that an input stands for, in the order of their names: images only where there is no other.

    Raises:
        NotFound: there is no such file, folder, object or dataset.
        UsageError: its suffix tells no format that is known, or a folder holds no file of one.
        MissingExtra: it lies in a bucket, and obstore is not installed.
    """
    if name.startswith(BUCKETS):
        from drivetrain.serving.batch.obstore import listed

        found = listed(name)
    elif "://" in name:
        raise UsageError(
            f"{name} cannot be read", remedy=f"known are files, {', '.join(BUCKETS)} and {', '.join(TABLES)}"
        )
    else:
        found = _local(Path(name).expanduser(), name)
        if not found:
            found = _dataset(store, name)
    if not found:
        raise _missing(store, name)
    return [each for each in found if each.format != "image"] or found


def _local(path: Path, name: str) -> list[File]:
    if path.is_file():
        return [_file(path, path.name)]
    if path.is_dir():
        inside = [each for each in sorted(path.rglob("*")) if _is_visible(each, path)]
        found = [_file(each, each.relative_to(path).as_posix()) for each in inside if input_format(each.name)]
        if not found:
            raise UsageError(f"{name} holds no file of rows", remedy=str(unknown_format(name).remedy))
        return found
    if not has_magic(name):
        return []
    matches = [Path(each) for each in sorted(glob(str(path), recursive=True))]
    # The way from the last folder without a sign of the pattern.
    fixed = next(above for above in path.parents if not has_magic(str(above)))
    return [_file(each, each.relative_to(fixed).as_posix()) for each in matches if each.is_file()]


def _is_visible(path: Path, root: Path) -> bool:
    return path.is_file() and not any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _file(path: Path, name: str) -> File:
    form = input_format(path.name)
    if form is None:
        raise unknown_format(path.name)
    state = path.stat()
    full = str(path.absolute())
    return File(
        path=full,
        root=full.removesuffix(f"/{name}"),
        name=name,
        format=form,
        size_bytes=state.st_size,
        stamp=f"{state.st_size}-{state.st_mtime_ns}",
        is_text=form in TEXT,
    )


def _dataset(store: Store, name: str) -> list[File]:
    """Return the newest artifact of a dataset of the system, which is a file too."""
    steps = store.ledger.find(StepRun, {"step": name, "role": "dataset", "state": "finished"}, order="-started_at")
    artifact = steps[0].outputs.get(name) if steps else None
    if artifact is None or artifact.format != "parquet":
        return []
    path = store.artifacts.path(artifact.digest)
    return [
        File(
            path=str(path.absolute()),
            name=f"{name}{ENDINGS['parquet']}",
            format="parquet",
            size_bytes=artifact.size_bytes,
            stamp=artifact.digest,
        )
    ]


def _missing(store: Store, name: str) -> NotFound:
    if name.startswith(BUCKETS):
        return NotFound(kind="object", name=name, remedy="name an object, a folder that ends in /, or a pattern")
    folder = Path(name).expanduser().absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    near: list[Any] = [each.name for each in folder.iterdir() if not each.name.startswith(".")]
    datasets = {step.step for step in store.ledger.find(StepRun, {"role": "dataset", "state": "finished"})}
    return NotFound(
        kind="file or dataset", name=name, remedy=f"in {folder}, {nearest(Path(name).name, [*near, *datasets])}"
    )

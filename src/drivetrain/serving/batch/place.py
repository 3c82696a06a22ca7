"""Where a job's rows go: parts below a folder of its own first, then whole to where they were asked for."""

from __future__ import annotations

import gzip
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from drivetrain.errors import Refused, StoreUnavailable, UsageError
from drivetrain.serving.batch.carry_out import is_full
from drivetrain.serving.batch.format import ENDINGS, PACKED, SUFFIXES, TEXT, format_of, sink, stem_of
from drivetrain.serving.batch.source import BUCKETS
from drivetrain.store.folder import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Place:
    """An output: one file, or a folder with a file for each part; here or in a bucket.

    `name` is how a job is found again: the absolute path, or the address.
    """

    def __init__(self, output: str, form: str) -> None:
        self.is_bucket = output.startswith(BUCKETS)
        if "://" in output and not self.is_bucket:
            raise UsageError(f"{output} cannot be written", remedy=f"known are files, folders and {', '.join(BUCKETS)}")
        self.name = output.rstrip("/") if self.is_bucket else str(Path(output).expanduser().absolute())
        self.is_packed = self.name.lower().endswith(PACKED)
        found = format_of(self.name)
        self.is_one = found is not None
        self.form: str = found or form
        if self.form not in ENDINGS:
            raise UsageError(f"{form!r} is no format of a part", remedy=f"the known ones are {', '.join(ENDINGS)}")
        if not self.is_one and Path(self.name).suffix and not Path(self.name).is_dir():
            raise UsageError(
                f"{output} has no suffix that tells its format",
                remedy=f"the known ones are {', '.join(SUFFIXES)}; without one it is a folder",
            )

    def work_of(self, job: str, store: Path) -> Path:
        """Return the folder for what is half done: beside the output, so that it can be renamed into its place."""
        if self.is_bucket:
            return store / "batch" / job
        path = Path(self.name)
        return path.with_name(f".{path.name}.{job}")

    def lock_of(self, store: Path) -> Path:
        """Return the file that whoever writes this output holds."""
        return store / "batch" / f"{sha256(self.name.encode()).hexdigest()[:32]}.lock"

    def is_taken(self) -> bool:
        """Return whether something is there already; an empty folder is nothing."""
        if self.is_bucket:
            from drivetrain.serving.batch.obstore import is_there

            return is_there(self.name)
        path = Path(self.name)
        return any(path.iterdir()) if path.is_dir() and not self.is_one else path.exists()

    def form_of_parts(self, parts: int) -> str:
        """Return the format of parts before they are put together."""
        return "ipc" if self.is_one and parts > 1 and self.form not in TEXT else self.form

    def path_of(self, work: Path, number: int, name: str, parts: int) -> Path:
        """Return where a part lies until all are finished."""
        if self.is_one:
            return work / f"{number:05}{ENDINGS[self.form_of_parts(parts)]}"
        return work / "output" / f"{name}{ENDINGS[self.form]}"

    @property
    def rejects(self) -> str:
        """The file of rows that could not be answered."""
        return f"{stem_of(self.name) if self.is_one else self.name}.rejects.ndjson"

    def put_together(self, work: Path, parts: Sequence[str]) -> Path:
        """Return a file with the rows of all parts, in their order.

        Raises:
            StoreUnavailable: the disk is full.
        """
        if len(parts) == 1 and not self.is_packed:
            return Path(parts[0])
        final = work / "final"
        try:
            if self.form in TEXT:
                _concatenated(final, parts, is_packed=self.is_packed)
            else:
                sink(pl.scan_ipc(list(parts), glob=False), str(final), self.form)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise unwritable(self.name, error) from error
        return final

    def put(self, path: Path, *, work: Path) -> None:
        """Put a finished file or folder into its place, in place of what is there.

        Raises:
            StoreUnavailable: it cannot be written there.
        """
        if self.is_bucket:
            from drivetrain.serving.batch.obstore import put

            put(path, self.name)
            return
        target = Path(self.name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                target.rename(work / f"old-{os.urandom(4).hex()}")
            path.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise unwritable(self.name, error) from error

    def put_rejects(self, work: Path, lines: Iterable[bytes] | None) -> None:
        """Write the rows that could not be answered beside the output; without any, an older such file is removed."""
        if self.is_bucket and lines is None:
            return
        if lines is None:
            Path(self.rejects).unlink(missing_ok=True)
            return
        scratch = work / "rejects"
        with open(scratch, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        if self.is_bucket:
            from drivetrain.serving.batch.obstore import put

            put(scratch, self.rejects)
        else:
            scratch.replace(self.rejects)

    def clear(self, *, is_ours: bool) -> None:
        """Make sure that what is there may be replaced; parts in a bucket are taken away first.

        Raises:
            Refused: it is a folder that no job has written.
        """
        if self.is_one:
            return
        if not is_ours:
            raise Refused(
                f"{self.name} is a folder that no batch job has written",
                remedy="name another one, or remove it yourself",
            )
        if self.is_bucket:
            from drivetrain.serving.batch.obstore import delete

            delete(f"{self.name}/")


def unwritable(name: str, error: Exception) -> StoreUnavailable:
    """Return the error for an output that cannot be written now."""
    cause = "the disk is full" if is_full(error) else str(error).partition("\n")[0][:300]
    return StoreUnavailable(
        f"{name} cannot be written: {cause}", remedy="mend that, then give the same command: finished parts are kept"
    )


def _concatenated(target: Path, parts: Sequence[str], *, is_packed: bool) -> None:
    with open(target, "wb") as file:
        packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0) if is_packed else None
        for part in parts:
            with open(part, "rb") as piece:
                shutil.copyfileobj(piece, packed or file, 1 << 20)
        if packed:
            packed.close()
        file.flush()
        os.fsync(file.fileno())

"""One part of a job, from its rows to its file: what a worker does, in this process, another or on Ray."""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
from polars.io.plugins import register_io_source

from drivetrain.errors import BadRow, DrivetrainError, StoreUnavailable
from drivetrain.registry.registry import version
from drivetrain.serving.batch.answerer import answerer_of
from drivetrain.serving.batch.folder import Folder
from drivetrain.serving.batch.format import ENDINGS, TEXT, sink
from drivetrain.serving.batch.plan import SEPARATORS, Part, chunks, text_columns
from drivetrain.serving.batch.scoring import Scorer
from drivetrain.serving.batch.sizes import chunk_rows
from drivetrain.serving.live import reason_of
from drivetrain.store.fingerprints import digest_of_file
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drivetrain.serving.batch.job import OnBadRow


@dataclass(frozen=True, kw_only=True)
class Order:
    """What every part of a job is done with: the store, the version, what is kept, and where it goes.

    `form` is the format of a part; `has_header` says whether each CSV part begins with one, or only the first. `bucket`
    is the folder in a bucket that finished parts are put into; empty where they stay in `work`.
    """

    store: Path
    allow_pickle: bool
    version: str
    columns: tuple[str, ...] | None
    on_bad_row: OnBadRow
    work: Path
    form: str
    has_header: bool
    bucket: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """A part that is on the disk under a name of its worker's, or in the bucket; `rejects` is beside it, if any."""

    path: str
    rejects: str
    sha256: str
    size_bytes: int
    read: int
    rows: int
    rejected: int
    seconds: float
    peak_mib: float


class Hand:
    """Carries out the parts of one job, one after another; the version is loaded once."""

    def __init__(self, order: Order) -> None:
        self._order = order
        # It stays open: a class of the user's may call other services, which are answered from it.
        self._store = Store.open(order.store, allow_pickle=order.allow_pickle)
        try:
            self._version = version(self._store.ledger, order.version)
            answerer = answerer_of(self._store, self._version)
        except Exception as error:  # the version's code is the user's, and may raise anything
            self.close()
            if isinstance(error, DrivetrainError):
                raise
            raise DrivetrainError(f"{order.version} cannot be loaded: {reason_of(error)}") from error
        self._scorer = Scorer(answerer, keeps=order.columns, on_bad_row=order.on_bad_row)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def carry_out(self, part: Part, report: Callable[[int], None]) -> Done:
        """Read, answer and write a part; `report` is told of rows that were read.

        Raises:
            BadRow: a row does not fit, and the job fails for that; it is counted in the part.
            StoreUnavailable: the disk is full, or the bucket cannot be reached.
            DrivetrainError: the file cannot be read, or the model fails.
        """
        began = time.monotonic()
        scratch = self._order.work / f"{part.number:05}-{os.getpid()}-{os.urandom(4).hex()}.partial"
        rejects = scratch.with_suffix(".rejects")
        counts = {"read": 0, "rows": 0, "rejected": 0}
        caught: list[Exception] = []
        text = text_columns(part)
        as_written = part.file.format in SEPARATORS and self._order.form in SEPARATORS

        def rows(*_: Any) -> Iterator[pl.DataFrame]:
            try:
                yield from self._scored(part, text, as_written, rejects, counts, report)
            except Exception as error:
                caught.append(error)
                raise

        schema = self._scorer.schema(part.columns, text, as_written=as_written)
        flat = _flat(pl.DataFrame(schema=schema), self._order.form).schema
        try:
            header = self._order.has_header or part.number == 0
            sink(register_io_source(rows, schema=flat), str(scratch), self._order.form, header=header)
            digest, size_bytes = digest_of_file(scratch).removeprefix("sha256:"), scratch.stat().st_size
            path = self._placed(part, scratch)
        except Exception as error:
            scratch.unlink(missing_ok=True)
            rejects.unlink(missing_ok=True)
            cause = caught[0] if caught else error
            if isinstance(cause, DrivetrainError):
                raise cause from None
            raise told(cause, part) from error
        return Done(
            path=path, rejects=str(rejects) if counts["rejected"] else "", sha256=digest, size_bytes=size_bytes,
            seconds=time.monotonic() - began, peak_mib=peak_mib(), **counts,
        )  # fmt: skip

    def _scored(
        self,
        part: Part,
        text: set[str],
        as_written: bool,
        rejects: Path,
        counts: dict[str, int],
        report: Callable[[int], None],
    ) -> Iterator[pl.DataFrame]:
        folder = Folder(part.file.root)
        for frame, broken in chunks(part, chunk_rows(self._version.signature, len(part.columns))):
            found = self._scorer.score(
                frame, file=part.file.name, first_row=counts["read"], text=text, as_written=as_written, broken=broken,
                folder=folder,
            )  # fmt: skip
            if found.rejects:
                with open(rejects, "ab") as file:
                    file.writelines(msgspec.json.encode(each) + b"\n" for each in found.rejects)
                    file.flush()
                    os.fsync(file.fileno())
            counts["read"] += frame.height
            counts["rows"] += found.frame.height
            counts["rejected"] += len({each.row for each in found.rejects})
            report(frame.height)
            yield _flat(found.frame, self._order.form)

    def _placed(self, part: Part, scratch: Path) -> str:
        if not self._order.bucket:
            return str(scratch)
        from drivetrain.serving.batch.obstore import put

        url = f"{self._order.bucket}/{part.name}{ENDINGS[self._order.form]}"
        put(scratch, url)
        scratch.unlink()
        return url


def told(error: Exception, part: Part) -> DrivetrainError:
    """Return what went wrong with a part as an error for people."""
    if is_full(error):
        return StoreUnavailable(
            "the disk is full", remedy="free some space, then give the same command: finished parts are kept"
        )
    cause = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
    return DrivetrainError(f"part {part.number} ({part.file.name}) failed: {cause}", remedy="is the file whole?")


def is_full(error: Exception) -> bool:
    """Return whether an error says that the disk is full; polars has no type for it."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def counted_from(error: BadRow, first_row: int) -> BadRow:
    """Return the error with its row counted in the file."""
    return BadRow(**error.facts | {"row": error.row + first_row})


def peak_mib() -> float:
    """Return the most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _flat(frame: pl.DataFrame, form: str) -> pl.DataFrame:
    """Return a frame as text can hold it: images in base64, and in CSV a column for each class, and lists as JSON."""
    if form not in TEXT:
        return frame
    columns: list[pl.Series] = []
    for column in frame.iter_columns():
        if column.dtype == pl.Binary:
            columns.append(column.bin.encode("base64"))
        elif form in SEPARATORS and column.name == "probabilities" and isinstance(column.dtype, pl.Struct):
            shares = column.struct
            columns += [shares.field(name).alias(f"probability_{name}") for name in shares.fields]
        elif form in SEPARATORS and column.dtype.is_nested():
            texts = [None if value is None else msgspec.json.encode(value).decode() for value in column.to_list()]
            columns.append(pl.Series(column.name, texts, dtype=pl.String))
        else:
            columns.append(column)
    return pl.DataFrame(columns)

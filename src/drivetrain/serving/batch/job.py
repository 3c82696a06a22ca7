"""A batch job: which rows a version answers, into which output, and how far it has come."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

from drivetrain.store.record import Record

OnBadRow = Literal["fail", "skip", "keep"]
State = Literal["running", "placing", "finished", "failed", "interrupted", "superseded"]
UNFINISHED = ("running", "placing", "failed", "interrupted")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a job does with its rows.

    `columns` are those of the input that the output keeps: None for all. `on_bad_row` says what becomes of a row that
    does not fit the version: the job fails, the row is left out, or it is kept without a prediction. `limit` is the
    number of rows to take, and `part_rows` about how many make a part, 0 for as many as suit the version: what is
    finished once, and never done again. `format` is that of the parts of an output that is a folder.
    """

    columns: tuple[str, ...] | None = None
    on_bad_row: OnBadRow = "fail"
    limit: int | None = None
    part_rows: int = 0
    format: str = "parquet"


class BatchJob(Record, frozen=True, kw_only=True):
    """Rows of files, tables or buckets that a version answers once.

    `request` is the SHA-256 of what was asked for, and `fingerprint` that of what was found: the version's artifacts,
    each file with its size and time, and the parts. A job goes on only where both are the same.
    """

    TABLE: ClassVar[str] = "batch_job"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("output",), ("started_at",))

    id: str
    version: str
    input: str
    output: str
    settings: dict[str, Any]
    request: str
    fingerprint: str = ""
    # The folder with what is half done; empty once it has been removed.
    work: str = ""
    state: State = "running"
    error: str = ""
    parts: int = 0
    parts_done: int = 0
    rows: int = 0
    rejected: int = 0
    # The file that tells of rows that could not be answered; empty where all could.
    rejects: str = ""
    seconds: float = 0.0
    peak_mib: float = 0.0
    started_at: datetime
    finished_at: datetime | None = None
    actor: str = ""

    @property
    def answered(self) -> int:
        """How many rows have an answer; a row that was kept without one is among the `rows`, and not among these."""
        return self.rows - (self.rejected if self.settings.get("on_bad_row") == "keep" else 0)


class BatchPart(Record, frozen=True, kw_only=True):
    """A part that is finished: its bytes are on the disk, or in the bucket, and are never made again.

    `read` counts the rows of the input, `rows` those of the output, and `rejected` those that did not fit. `sha256` is
    plain hexadecimal: a digest in the ledger is that of an artifact of the store, which a part is not.
    """

    TABLE: ClassVar[str] = "batch_part"
    KEY: ClassVar[tuple[str, ...]] = ("job", "number")

    job: str
    number: int
    path: str
    sha256: str
    size_bytes: int
    read: int
    rows: int
    rejected: int
    seconds: float
    finished_at: datetime

"""A job: rows that were taken in to be answered later; and the worker that is at it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from drivetrain.serving.journal import pairs
from drivetrain.store.record import Record

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = ("queued", "running", "done", "failed", "cancelled")
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")


class Job(Record, frozen=True, kw_only=True):
    """Rows of one client, the version that answers all of them, and what became of that.

    `request` and `result` are digests of artifacts that nothing else shares. `names` are the letters that the ids of
    its predictions begin and end with: the same ones in every attempt. `lease` is the fencing token of the attempt
    that runs: who does not hold it can change nothing.
    """

    TABLE: ClassVar[str] = "job"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("service", "state", "created_at"),
        ("service", "idempotency_key"),
        ("service", "callback_at"),
        ("expires_at",),
    )

    id: str
    service: str
    version: str
    arm: str
    state: State = "queued"
    rows: int
    is_one: bool
    request: str
    body_sum: str
    names: tuple[str, str]
    idempotency_key: str = ""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    attempts: int = 0
    lease: str = ""
    done_rows: int = 0
    result: str = ""
    error: str = ""
    # The path below which its service was asked, where the server answers for several.
    base: str = ""
    callback_url: str = ""
    # When it is told next; None where nobody is to be told any more.
    callback_at: datetime | None = None
    callback_attempts: list[dict[str, Any]] = []

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more by itself."""
        return self.state in ENDED

    def ids(self, begin: int, end: int) -> list[str]:
        """Return the ids of its predictions, from row `begin` up to `end`."""
        first, last = self.names
        return [f"pred-{first}{pairs(number)}{last}" for number in range(begin, end)]


class JobWorker(Record, frozen=True, kw_only=True):
    """A process that answers jobs; see `pipeline.runner.Runner` for what tells that it lives."""

    TABLE: ClassVar[str] = "job_worker"

    id: str
    service: str
    host: str
    pid: int
    born: str
    beat_at: datetime


class JobTotals(Record, frozen=True, kw_only=True):
    """What became of all jobs of a service since its store was made: sums that never fall."""

    TABLE: ClassVar[str] = "job_totals"
    KEY: ClassVar[tuple[str, ...]] = ("service",)

    service: str
    taken: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    busy_s: float = 0.0

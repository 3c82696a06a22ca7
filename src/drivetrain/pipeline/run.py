"""A run: one execution of a plan, and of each of its steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from drivetrain.store.artifact import Artifact
from drivetrain.store.record import Record

RunState = Literal["running", "finished", "failed", "interrupted"]
StepState = Literal["running", "finished", "cached", "failed", "skipped", "interrupted"]


class Run(Record, frozen=True, kw_only=True):
    """One execution of a plan, and everything it was made of."""

    TABLE: ClassVar[str] = "run"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("system",), ("started_at",), ("state",))

    id: str
    system: str
    state: RunState
    started_at: datetime
    finished_at: datetime | None = None
    reason: str = "by hand"
    actor: str = ""
    settings: dict[str, Any] = {}
    commit: str = ""
    # The digest of the text that `git diff HEAD` gave; empty when the working tree was clean.
    dirty_diff: str = ""
    environment: dict[str, str] = {}
    error: str = ""
    pid: int = 0


class StepRun(Record, frozen=True, kw_only=True):
    """What one step did in one run."""

    TABLE: ClassVar[str] = "step_run"
    KEY: ClassVar[tuple[str, ...]] = ("run", "step")
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("key", "state"), ("step",))

    run: str
    step: str
    role: str
    state: StepState
    key: str
    # The run whose result this is; the same as `run` unless it was cached.
    origin: str
    reason: str
    started_at: datetime
    seconds: float = 0.0
    peak_mib: float = 0.0
    inputs: dict[str, Artifact] = {}
    outputs: dict[str, Artifact] = {}
    settings: dict[str, Any] = {}
    # What the key was made of, each with its own digest: `code`, `settings.depth`, `input.flights`, `package.polars`, …
    ingredients: dict[str, str] = {}
    error: str = ""
    # How often it was tried; of a step that failed first and then went well, `error` tells the last failure.
    tries: int = 1
    # The mapped step that this is one item of.
    parent: str = ""
    # Where the part is declared: file:line.
    place: str = ""
    # Whether it ran in a process of its own.
    isolated: bool = False

    @property
    def warnings(self) -> list[str]:
        """What its checks of severity `warn` found in what it gave."""
        return [warning for output in self.outputs.values() for warning in output.detail.get("warnings", ())]

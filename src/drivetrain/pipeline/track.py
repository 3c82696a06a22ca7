"""`dt.track`: a run without a system, for a script, a notebook or a loop over settings."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec

from drivetrain.errors import BadSetting
from drivetrain.pipeline.attachment import attach
from drivetrain.pipeline.figure import settings_of
from drivetrain.pipeline.log import CURRENT
from drivetrain.pipeline.origin import Origin, OriginReader
from drivetrain.pipeline.points import Points, named
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.store.record import new_id, now
from drivetrain.store.store import Store
from drivetrain.system.caller import caller
from drivetrain.system.function import is_plain
from drivetrain.system.settings import find_project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drivetrain.system.part import Job


class Tracked:
    """A run that is tracked: where the block's figures and files go, and the run's id as `run`."""

    def __init__(self, store: Store, run: str, name: str) -> None:
        self.store, self.run, self.name = store, run, name
        self.points = Points(self.job, name)

    @property
    def job(self) -> Job:
        """The same as a step's job. It has no inputs, and nothing that is tracked asks for one."""
        return cast("Job", self)

    def log(self, name: str, value: float, step: int | None = None) -> None:
        """Record one point of a metric, as `dt.log` does."""
        self.points.log(name, value, step)

    def attach(self, name: str, value: Any) -> None:
        """Keep a value or a file, as `dt.attach` does."""
        attach(self.store, self.run, self.name, name, value)


@contextmanager
def track(name: str, settings: Mapping[str, Any] | None = None, *, reason: str = "tracked") -> Iterator[Tracked]:
    """Record what the block logs and attaches as a run of its own, with one step `name` and these settings.

    It goes into the store of the project around the current folder. The run is written when the block ends, also when
    it raises; one that takes longer than a moment is seen while it goes on.

    >>> import os, tempfile
    >>> os.chdir(tempfile.mkdtemp())
    >>> with track("fit", {"depth": 3}) as run:
    ...     run.log("loss", 0.3)
    >>> run.run.startswith("run-")
    True

    Raises:
        UsageError: the name cannot be one.
        BadSetting: a setting has a value that cannot be written down.
    """
    named(name, "what is tracked")
    given = dict(settings or {})
    for key, value in given.items():
        named(key, "a setting")
        if not is_plain(value):
            raise BadSetting(
                setting=f"{name}.{key}",
                found=f"{type(value).__name__}, which cannot be written down",
                right="give it a number, text, bool, None, or a list or dict of these",
                place=caller(),
            )
    opened = _opened(os.getcwd(), os.getpid())
    run = Run(
        id=new_id("run"), system=opened.system, state="running", started_at=now(), reason=reason,
        settings={name: given} if given else {}, actor=opened.origin.actor, commit=opened.origin.commit,
        dirty_diff=opened.dirty_diff, environment=opened.origin.environment, pid=os.getpid(),
    )  # fmt: skip
    step = StepRun(
        run=run.id, step=name, role="tracked", state="running", key="", origin=run.id, reason=reason,
        started_at=run.started_at, settings=given,
    )  # fmt: skip
    figures = settings_of(run)
    tracked = Tracked(opened.store, run.id, name)
    tracked.points.announce(run, step, *figures)
    token = CURRENT.set(tracked.job)
    state: Literal["finished", "failed", "interrupted"] = "finished"
    error, started = "", time.perf_counter()
    try:
        yield tracked
    except BaseException as raised:
        state = "failed" if isinstance(raised, Exception) else "interrupted"
        error = f"{type(raised).__name__}: {raised}".removesuffix(": ")
        raise
    finally:
        CURRENT.reset(token)
        tracked.points.close(
            msgspec.structs.replace(run, state=state, finished_at=now(), error=error),
            msgspec.structs.replace(
                step,
                state="finished" if state == "finished" else "failed",
                seconds=time.perf_counter() - started,
                error=error,
            ),
            *figures,
        )


class _Opened(NamedTuple):
    """The project around a folder, and what is true of this process's code."""

    store: Store
    system: str
    origin: Origin
    dirty_diff: str


@lru_cache(maxsize=8)
def _opened(folder: str, process: int) -> _Opened:
    """Open the project around a folder, once a process: what runs is the code as it was when the process read it."""
    project = find_project(Path(folder))
    store = Store.open(project.store_path, allow_pickle=project.get("store.allow_pickle"))
    origin = OriginReader(project.root).result()
    diff = store.artifacts.put(origin.dirty_diff.encode()) if origin.dirty_diff else ""
    return _Opened(store, str(project.get("system.name")) or project.system_path.stem, origin, diff)

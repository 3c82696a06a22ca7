"""Who runs: the process behind a run, and whether it is still there. A running step belongs to its run's runner."""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import msgspec

from drivetrain.errors import StoreError
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.store.record import Record, now

if TYPE_CHECKING:
    from drivetrain.store.ledger import Ledger

BEAT_S = 2.0
# A runner on another machine, or one that is stopped, counts as gone after this long without a beat.
SILENCE_S = 8.0
# The clocks of two machines, or of one that has been set, differ by less.
SKEW_S = 300.0

# The last beat that was seen of a run, and when by our own clock, which is never set.
_SEEN: dict[str, tuple[datetime, float]] = {}


class Runner(Record, frozen=True, kw_only=True):
    """The process of a run. `host` tells machine, boot and process namespace; `born` tells whether a pid was reused."""

    TABLE: ClassVar[str] = "runner"
    KEY: ClassVar[tuple[str, ...]] = ("run",)

    run: str
    host: str
    pid: int
    born: str
    beat_at: datetime


class Heart:
    """Says every two seconds that a runner is alive, in a thread of its own, until it is stopped."""

    def __init__(self, ledger: Ledger, run: str) -> None:
        self._ledger, self._run = ledger, run
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="drivetrain-heart", daemon=True)

    def runner(self) -> Runner:
        """Return the record of this process as it is now."""
        return Runner(run=self._run, host=host(), pid=os.getpid(), born=born(os.getpid()), beat_at=now())

    def start(self) -> None:
        """Begin to beat; the first record is written by whoever begins the run."""
        self._thread.start()

    def stop(self) -> None:
        """Stop beating."""
        self._stopped.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_S):
            try:
                with self._ledger.transaction(is_durable=False):
                    self._ledger.write(self.runner())
            except StoreError:
                continue  # the disk may have room again at the next beat


def is_alive(runner: Runner | None) -> bool:
    """Return whether a runner still works.

    On this machine a process that exists and is not stopped works, however long it has been busy. Elsewhere the beats
    tell: those that do not change for a while as we look on, since clocks differ, or that are from long ago.
    """
    if runner is None:
        return False
    if runner.host == host():
        if born(runner.pid) != runner.born:
            return False
        if not _is_stopped(runner.pid):
            return True
    beat_at, since = _SEEN.get(runner.run, (None, 0.0))
    if beat_at != runner.beat_at:
        since = time.monotonic()
        _SEEN[runner.run] = runner.beat_at, since
    return time.monotonic() - since < SILENCE_S and abs(now() - runner.beat_at) < timedelta(seconds=SKEW_S)


def mark_interrupted(ledger: Ledger) -> None:
    """Give each run whose runner is gone its right state, and its steps too: they were interrupted."""
    for run in ledger.find(Run, {"state": "running"}):
        if is_alive(ledger.get(Runner, run.id)):
            continue
        with ledger.transaction():
            current = ledger.get(Run, run.id)
            if current is None or current.state != "running":
                continue
            gone = "its process was ended"
            steps = ledger.find(StepRun, {"run": run.id, "state": "running"})
            ledger.write(
                msgspec.structs.replace(current, state="interrupted", error=gone),
                *(msgspec.structs.replace(step, state="interrupted", error=gone) for step in steps),
            )


@lru_cache(maxsize=1)
def host() -> str:
    """Return what tells this machine, since it was started, and this process namespace from all others."""
    parts = [os.uname().nodename]
    if sys.platform == "linux":
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            parts += [file.read().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def born(pid: int) -> str:
    """Return when a process began, in the system's own measure; empty when there is none."""
    if sys.platform != "linux":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            return "unknown"
        return "unknown"
    fields = _stat(pid)
    return fields[19] if fields and fields[0] not in ("Z", "X") else ""


def _is_stopped(pid: int) -> bool:
    return sys.platform == "linux" and _stat(pid)[:1] in (["T"], ["t"])


def _stat(pid: int) -> list[str]:
    """Return what /proc/PID/stat tells, from the state on; nothing when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []

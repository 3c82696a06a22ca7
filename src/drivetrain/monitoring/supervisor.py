"""Several programs as one: each is started, started again when it dies, and ended with the others."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Literal

import msgspec

from drivetrain.pipeline.ending import end_with_parent, ending

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# The pause before a dead child is started again; it doubles with each early death, up to the longest.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
# A child that has lived so long has come up, and its next death is the first again.
SETTLED_S = 30.0
GRACE_S = 10.0
LOG_BYTES = 16 << 20
_LOOK_S = 0.1


class Child(msgspec.Struct, frozen=True):
    """A program to keep alive: its name, and the command that starts it."""

    name: str
    command: Sequence[str]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a child; `detail` has its exit code and the last words that it wrote."""

    name: str
    state: Literal["started", "died", "stopped"]
    pid: int
    detail: str = ""


class _Running:
    """A child with its process, and when it may be started again."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.start_at = 0.0
        self.early_deaths = 0


class Supervisor:
    """Keeps children alive until it is told to stop, by SIGINT, SIGTERM or `stop`.

    Each child leads a process group of its own, so that a child's children go with it; what it writes goes to
    `NAME.log` in the folder `logs`. On Linux the kernel ends the children also when the supervisor is killed
    outright.
    """

    def __init__(self, children: Sequence[Child], *, logs: Path, folder: Path | None = None) -> None:
        self._running = [_Running(child) for child in children]
        self._logs, self._folder = logs, folder
        self._is_stopping = False

    def stop(self) -> None:
        """Ask `run` to end the children and return."""
        self._is_stopping = True

    def run(self) -> Iterator[Change]:
        """Start all children and yield each change, until told to stop; then end them and yield that as well."""
        self._logs.mkdir(parents=True, exist_ok=True)
        before = {each: signal.signal(each, lambda *_: self.stop()) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not self._is_stopping:
                for running in self._running:
                    yield from self._look(running)
                time.sleep(_LOOK_S)
        finally:
            changes = self._end()
            for each, handler in before.items():
                signal.signal(each, handler)
        yield from changes

    def _look(self, running: _Running) -> Iterator[Change]:
        now = time.monotonic()
        process = running.process
        if process is None:
            if now >= running.start_at and not self._is_stopping:
                running.process = self._start(running.child)
                running.started_at = now
                yield Change(name=running.child.name, state="started", pid=running.process.pid)
            return
        code = process.poll()
        if code is None:
            return
        # What it left behind would hold its port, and keep the next one from starting.
        _signal_group(process.pid, signal.SIGKILL)
        running.early_deaths = 0 if now - running.started_at > SETTLED_S else running.early_deaths + 1
        pause = min(FIRST_PAUSE_S * 2 ** max(running.early_deaths - 1, 0), LONGEST_PAUSE_S)
        running.process, running.start_at = None, now + pause
        said = last_words(self._log_of(running.child))
        detail = f"{ending(code)}; again in {pause:g} s" + (f"; it said: {said}" if said else "")
        yield Change(name=running.child.name, state="died", pid=process.pid, detail=detail)

    def _start(self, child: Child) -> subprocess.Popen[bytes]:
        path = self._log_of(child)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            return subprocess.Popen(  # the commands are ours
                list(child.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=end_with_parent(),
            )

    def _log_of(self, child: Child) -> Path:
        return self._logs / f"{child.name}.log"

    def _end(self) -> list[Change]:
        """End the children together: they are asked, given time, and then made to."""
        alive = [running for running in self._running if running.process is not None]
        for running in alive:
            assert running.process is not None
            _signal_group(running.process.pid, signal.SIGTERM, leader_only=True)
        deadline = time.monotonic() + GRACE_S
        changes = []
        for running in alive:
            assert running.process is not None
            try:
                code = running.process.wait(timeout=max(0.0, deadline - time.monotonic()))
                detail = ending(code)
            except subprocess.TimeoutExpired:
                detail = f"killed after {GRACE_S:g} s"
            _signal_group(running.process.pid, signal.SIGKILL)
            running.process.wait()
            changes.append(Change(name=running.child.name, state="stopped", pid=running.process.pid, detail=detail))
            running.process = None
        return changes


def _signal_group(pid: int, number: signal.Signals, *, leader_only: bool = False) -> None:
    try:
        os.kill(pid, number) if leader_only else os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # all of them have ended


def last_words(path: Path) -> str:
    """Return the last line of a log that is not blank, after the one it is the remedy of; cut where it is very long."""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 4096))
        text = log.read().decode(errors="replace")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    is_remedy = bool(lines) and lines[-1].startswith("→")
    return " ".join(lines[-2:] if is_remedy else lines[-1:])[:300]

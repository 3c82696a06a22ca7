"""Processes for steps that run by themselves: started when needed, used again, watched, ended with all they began."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import Place, StepCrashed, StepOutOfMemory, StepTimedOut, UsageError
from drivetrain.pipeline.ending import end_all, ending, with_descendants
from drivetrain.pipeline.failure import place_in_dump, trace_in_dump
from drivetrain.pipeline.task import Outcome
from drivetrain.pipeline.worker import DUMP_SIGNAL, END, READY
from drivetrain.pipeline.worker import Place as Workplace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.pipeline.steplog import StepLog
    from drivetrain.pipeline.task import Order
    from drivetrain.store.store import Store
    from drivetrain.system.part import Part
    from drivetrain.system.system import System

# How often a step's memory and time are looked at.
LOOK_S = 0.02
# How long a process may take to say where it is, before it is ended.
DUMP_S = 0.5


class Workers:
    """Lends processes to the isolated steps of one run."""

    def __init__(self, *, system: System, store: Store, root: Path, handover: Path) -> None:
        self._system, self._store, self._root, self._handover = system, store, root, handover
        self._lock = threading.Lock()
        # Those that are free, by the GPUs that they see.
        self._free: dict[tuple[int, ...], list[_Worker]] = {}
        self._all: list[_Worker] = []
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def perform(
        self,
        order: Order,
        part: Part,
        *,
        gpus: Sequence[int],
        printed: StepLog,
    ) -> Outcome:
        """Carry an order out in a process of its own, and end that at the part's limits."""
        worker = self._taken(tuple(gpus))
        needs = self._system.needs[part.name].values()
        artifacts = {need: order.artifacts[need] for need in needs if need in order.artifacts}
        try:
            worker.wait_until_ready()
            worker.connection.send(msgspec.structs.replace(order, artifacts=artifacts))
            outcome = self._watched(worker, order, part, printed)
        except (EOFError, OSError):
            outcome = self._crashed(worker, order, part)
        if outcome.error is not None and not worker.is_alive():
            self._dismiss(worker)
        else:
            with self._lock:
                self._free.setdefault(worker.gpus, []).append(worker)
        return outcome

    def close(self) -> None:
        """End all processes, at once."""
        with self._lock:
            workers, self._all, self._free = self._all, [], {}
        for worker in workers:
            worker.kill()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _taken(self, gpus: tuple[int, ...]) -> _Worker:
        with self._lock:
            free = self._free.get(gpus)
            if free:
                return free.pop()
            module = self._system.module
            file = getattr(module, "__file__", None)
            if file is None:
                raise UsageError(
                    "a step that runs in a process of its own needs a system that is declared in a file",
                    remedy="put the system into a file, or take `isolated`, `timeout_s`, `memory_gib` and `gpu` away",
                )
            if self._scratch is None:
                self._scratch = tempfile.TemporaryDirectory(prefix="drivetrain-")
            place = Workplace(
                file=Path(file),
                name=self._system.name,
                root=self._root,
                store=self._store.root,
                allow_pickle=self._store.allow_pickle,
                handover=self._handover,
                dump=Path(self._scratch.name) / f"dump-{len(self._all)}",
                path=sys.path,
            )
            worker = _Worker(place, gpus)
            self._all.append(worker)
            return worker

    def _watched(self, worker: _Worker, order: Order, part: Part, printed: StepLog) -> Outcome:
        worker.printed = printed
        worker.has_ended.clear()
        limit_s, limit_gib = part.conduct.timeout_s, part.conduct.memory_gib
        began = time.monotonic()
        while True:
            # A child that the step has forked may hold its end of the connection open.
            has_ended = not worker.is_alive()
            if worker.connection.poll(0 if has_ended else LOOK_S):
                found: Outcome = worker.connection.recv()
                # All that it printed comes before the mark.
                worker.has_ended.wait(DUMP_S)
                return found
            if has_ended:
                raise EOFError
            if limit_s is not None and time.monotonic() - began > limit_s:
                dump, place = self._ended(worker, part)
                error: Any = StepTimedOut(step=order.step, timeout_s=limit_s, traceback=dump, place=place)
                return Outcome(error=error, is_passing=True, peak_mib=worker.memory_gib() * 1024)
            if limit_gib is not None and (found_gib := worker.memory_gib()) > limit_gib:
                dump, place = self._ended(worker, part)
                error = StepOutOfMemory(
                    step=order.step, found_gib=found_gib, memory_gib=limit_gib, traceback=dump, place=place
                )
                return Outcome(error=error, peak_mib=found_gib * 1024)

    def _ended(self, worker: _Worker, part: Part) -> tuple[str, Place]:
        """End a process, and return where it was."""
        dump = worker.whereabouts()
        worker.kill()
        return trace_in_dump(dump), place_in_dump(dump, part.place, self._root)

    def _crashed(self, worker: _Worker, order: Order, part: Part) -> Outcome:
        code = worker.wait()
        dump = worker.dump()
        error = StepCrashed(
            step=order.step,
            ending=ending(code),
            traceback=trace_in_dump(dump),
            place=place_in_dump(dump, part.place, self._root),
        )
        return Outcome(error=error, is_passing=True)

    def _dismiss(self, worker: _Worker) -> None:
        worker.kill()
        with self._lock:
            if worker in self._all:
                self._all.remove(worker)


class _Worker:
    """One process, the leader of a group of its own, so that what it begins ends with it."""

    def __init__(self, place: Workplace, gpus: tuple[int, ...]) -> None:
        self.gpus = gpus
        self.printed: StepLog | None = None
        self.has_ended = threading.Event()
        self._is_ready = False
        self._dump = place.dump
        self.connection, theirs = Pipe()
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else os.environ
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "drivetrain.pipeline.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=place.root,
                env=dict(environment) | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        self.connection.send(place)
        self._reader = threading.Thread(target=self._read, name="drivetrain-printed", daemon=True)
        self._reader.start()

    def wait_until_ready(self) -> None:
        """Wait until the user's file is loaded; raise EOFError when the process ends instead."""
        if not self._is_ready:
            assert self.connection.recv() == READY
            self._is_ready = True

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Return the exit code of a process that is about to end; what it began ends too."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it let go of its connection and lives on
            self.kill()
            return self._process.returncode
        self.kill()
        return code

    def kill(self) -> None:
        """End the process and all that it began, also what has left its group."""
        end_all(with_descendants(self._process.pid)[1:])
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # all of them have ended
        self._process.wait()
        self.connection.close()
        self._reader.join(DUMP_S)

    def whereabouts(self) -> str:
        """Ask the process where it is: what `faulthandler` writes, which needs nothing of Python's."""
        before = self.dump()
        try:
            self._process.send_signal(DUMP_SIGNAL)
        except ProcessLookupError:
            return before
        deadline = time.monotonic() + DUMP_S
        while time.monotonic() < deadline and self.dump() == before:
            time.sleep(0.01)
        time.sleep(0.01)
        return self.dump().removeprefix(before)

    def dump(self) -> str:
        """Return what `faulthandler` has written."""
        try:
            return self._dump.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def memory_gib(self) -> float:
        """Return the memory that the process and what it began hold; off Linux it is not known."""
        pages = 0
        for pid in with_descendants(self._process.pid):
            try:
                with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                    _, resident, shared = map(int, file.read().split()[:3])
                pages += resident - shared
            except (FileNotFoundError, ProcessLookupError):
                continue
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 30)

    def _read(self) -> None:
        """Take what the process prints, until it ends; a mark ends the words of each step."""
        assert self._process.stdout is not None
        stream, rest = self._process.stdout, b""
        while data := os.read(stream.fileno(), 1 << 16):
            *whole, rest = (rest + data).split(END)
            for words in whole:
                self._say(words)
                self.has_ended.set()
            # The mark may have come in part.
            keep = next((size for size in range(len(END) - 1, 0, -1) if rest.endswith(END[:size])), 0)
            self._say(rest[: len(rest) - keep])
            rest = rest[len(rest) - keep :]
        self._say(rest)
        self.has_ended.set()
        stream.close()

    def _say(self, words: bytes) -> None:
        if words and self.printed is not None:
            self.printed.write(words)

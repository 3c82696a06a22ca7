"""A guardian: the process above a run, which tells what happened when a step takes the whole interpreter down."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import time
from select import select
from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import Place, StepCrashed
from drivetrain.pipeline.ending import adopt_orphans, end_descendants, end_with_parent, ending
from drivetrain.pipeline.failure import account, place_in_dump, trace_in_dump
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.security.event import record_event
from drivetrain.store.record import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from drivetrain.store.store import Store


# How long the child may take to come to its end when its work is done. A thread that a step left may never end.
ENDING_S = 5.0
# How often it is looked whether the child is still there.
LOOK_S = 0.5
# After so long, a second Ctrl-C ends a run that does not end by itself.
PATIENCE_S = 1.0


class Crash(msgspec.Struct, frozen=True):
    """What is known of a process that is gone: its id, how it ended, and what `faulthandler` wrote."""

    pid: int
    how: str
    dump: str


def guarded(work: Callable[[], int], crashed: Callable[[Crash], int]) -> int:
    """Do the work in a child process and return its exit code there; this process ends with it.

    When the child ends before the work does, `crashed` is asked for the code, here. To be called while this process
    has a single thread. SIGINT and SIGTERM go on to the child, which takes the first as Ctrl-C: a terminal sends it
    to both. The child ends with this process, and whatever its steps began ends with it.
    """
    end_with_us = end_with_parent(signal.SIGKILL)
    reader, writer = os.pipe()
    adopt_orphans()
    dump = os.memfd_create("dump") if sys.platform == "linux" else -1
    # What is loaded by now stays for good: the collector need not look through it again.
    gc.freeze()
    child = os.fork()
    if not child:
        os.close(reader)
        if end_with_us is not None:
            end_with_us()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupted_once)
        if dump >= 0:
            faulthandler.enable(dump, all_threads=False)
        code = 1
        try:
            code = work()
            return code
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os.write(writer, bytes([code]))

    asked_at: list[float] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        # Whoever asks again has waited long enough.
        os.kill(child, signal.SIGKILL if asked_at and time.monotonic() - asked_at[0] > PATIENCE_S else number)
        asked_at.append(time.monotonic())

    os.close(writer)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hand_on)
    code, said = _waited_for(child, reader)
    end_descendants()
    if said:
        code = said[0]
    else:
        text = os.pread(dump, 1 << 20, 0).decode(errors="replace") if dump >= 0 else ""
        code = crashed(Crash(child, ending(code), text))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    # The work was the child's: taking Python apart here too would only take time, 20 ms and more.
    os._exit(code)


def _waited_for(child: int, reader: int) -> tuple[int, bytes]:
    """Return the exit code of a child, and what it said when its work was done; nothing where it did not get there."""
    said, pid, status, deadline = b"", 0, 0, float("inf")
    while not pid:
        if not said and select([reader], [], [], LOOK_S)[0]:
            # Nothing comes of a child that is gone; as long as a process that it forked holds the pipe, not even that.
            said = os.read(reader, 1)
            deadline = time.monotonic() + ENDING_S if said else deadline
        elif said:
            time.sleep(0.002)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status), said or (os.read(reader, 1) if select([reader], [], [], 0)[0] else b"")


def _interrupted_once(_: int, __: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def record_crash(store: Store, crash: Crash, root: Path) -> StepCrashed | None:
    """Record that the process of a run is gone, and return the failure of the steps that it was at.

    None where it was at no step: the run is marked all the same.
    """
    failure = None
    for run in store.ledger.find(Run, {"state": "running", "pid": crash.pid}):
        steps = store.ledger.find(StepRun, {"run": run.id, "state": "running"})
        others = f", while {len(steps)} steps ran: {', '.join(step.step for step in steps)}" if len(steps) > 1 else ""
        failures = [
            StepCrashed(
                step=step.step,
                ending=crash.how + others,
                traceback=trace_in_dump(crash.dump),
                place=place_in_dump(crash.dump, _place(step), root),
            )
            for step in steps
        ]
        failure = failures[0] if failures else None
        with store.ledger.transaction():
            store.ledger.write(
                msgspec.structs.replace(
                    run, state="failed", finished_at=now(), error=str(failure or f"its process {crash.how}")
                ),
                *(
                    msgspec.structs.replace(step, state="failed", error=account(error))
                    for step, error in zip(steps, failures, strict=True)
                ),
            )
            message = f"A run ({run.reason}) failed: its process {crash.how}."
            record_event(store.ledger, "run.failed", subject=run.id, message=message)
    return failure


def _place(step: StepRun) -> Place:
    file, _, line = step.place.rpartition(":")
    return Place(file, int(line))

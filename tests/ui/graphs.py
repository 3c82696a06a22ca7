"""A system with everything that a graph can have, in several states: `seeded` runs it, and leaves a run waiting."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import drivetrain as dt
from drivetrain.errors import DrivetrainError
from drivetrain.pipeline.approval import answer, open_requests
from drivetrain.pipeline.engine import Execution
from drivetrain.pipeline.plan import make_plan
from drivetrain.store.store import Store
from drivetrain.system.system import System

HOSTILE = "<script>alert(1)</script>"


@dt.step(each={"month": dt.monthly("2013-01", until="2013-12")})
def rows(month: str) -> int:
    print("rows of", month, HOSTILE)
    return int(month[-2:])


@dt.step
def total(rows: list[int], broken: bool = False) -> int:
    print("\n".join(f"line {number}" for number in range(40)), HOSTILE)
    return 1 // 0 if broken else sum(rows)


@dt.step
def drifted(total: int) -> bool:
    return total < 0


@dt.step(when=drifted)
def retrained(total: int) -> int:
    return total + 1


sign_off = dt.Approval(total, question="Is the total right?")


@dt.step(when=sign_off)
def shipped(total: int) -> int:
    return total


@dt.step(each={"number": [1, 0]}, retry=dt.Retry(1, wait_s=0.0, on=(ZeroDivisionError,)))
def inverse(number: int) -> float:
    return 1 / number


def system() -> System:
    """Return the system without what fails."""
    return System("graphs", rows, total, drifted, retrained, sign_off, shipped)


def failed(store: Store) -> str:
    """Run what fails, and return the id of the run."""
    execution = Execution(make_plan(System("graphs", inverse)), store=store, root=Path(__file__).parent, workers=1)
    try:
        execution.execute()
    except DrivetrainError:
        return execution.run.id
    raise AssertionError("it went well")


def end_waiting(store: Store) -> None:
    """Answer what runs still wait for, and wait until they have ended."""
    for asked in open_requests(store.ledger):
        answer(store.ledger, asked.id, "refused", by="the test", reason="it is over")
    for thread in threading.enumerate():
        if thread.name == "waiting run":
            thread.join(30)


def waiting(store: Store) -> tuple[str, threading.Thread]:
    """Begin a run that waits for a person, and return its id and the thread that it goes on in."""
    execution = Execution(make_plan(system()), store=store, root=Path(__file__).parent)
    thread = threading.Thread(target=execution.execute, name="waiting run", daemon=True)
    thread.start()
    give_up = time.monotonic() + 60
    while not open_requests(store.ledger):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return execution.run.id, thread

"""An attempt at a step: here or in a process of its own, and again where a failure may be over in a moment."""

from __future__ import annotations

import time
from threading import Event, Lock
from typing import TYPE_CHECKING

import msgspec

from drivetrain.pipeline.failure import account
from drivetrain.pipeline.steplog import StepLog
from drivetrain.pipeline.surroundings import Surroundings
from drivetrain.pipeline.task import Order, Outcome, Task, carry_out
from drivetrain.store.digest import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from drivetrain.pipeline.handover import Handover
    from drivetrain.pipeline.run import StepRun
    from drivetrain.pipeline.workers import Workers
    from drivetrain.store.store import Store
    from drivetrain.system.system import System


# File systems take names of up to 255 bytes.
NAME_BYTES = 200


class Attempts:
    """Carries out the orders of one run; each call may come from a thread of its own."""

    def __init__(
        self, *, system: System, store: Store, root: Path, run: str, held: Mapping[str, Any], handover: Handover
    ) -> None:
        self._system, self._store, self.root, self._held, self._handover = system, store, root, held, handover
        self._logs = logs_of(store.root, run)
        self._surroundings = Surroundings()
        self._lock = Lock()
        self._is_ending = Event()
        self._workers: Workers | None = None

    def perform(
        self,
        order: Order,
        step: StepRun,
        *,
        gpus: Sequence[int],
        again: Callable[[StepRun], None],
        said: Callable[[str], None],
    ) -> tuple[StepRun, Outcome]:
        """Return what came of a step, and its record with the time it took and the number of tries.

        `again` is told before each further try, and `said` of each line that is printed; `close` cuts a pause short.
        """
        part = self._system.parts[order.part]
        retry = part.conduct.retry
        printed = StepLog(self._logs / file_name(order.step), said)
        try:
            while True:
                began = time.perf_counter()
                outcome = (
                    self._isolated().perform(order, part, gpus=gpus, printed=printed)
                    if part.conduct.is_isolated
                    else carry_out(
                        order, self.task(order, printed), handover=self._handover, surroundings=self._surroundings
                    )
                )
                step = msgspec.structs.replace(
                    step,
                    seconds=time.perf_counter() - began,
                    peak_mib=outcome.peak_mib,
                    isolated=part.conduct.is_isolated,
                )
                if outcome.error is None or not outcome.is_passing or step.tries > retry.times:
                    return step, outcome
                step = msgspec.structs.replace(step, tries=step.tries + 1, error=account(outcome.error))
                again(step)
                if self._is_ending.wait(retry.pause_s(step.tries - 1)):
                    return step, outcome
        finally:
            printed.close()

    def task(self, order: Order, printed: StepLog | None = None) -> Task:
        """Return the turn of a step in this process."""
        return Task(
            order,
            store=self._store,
            system=self._system,
            root=self.root,
            handover=self._handover,
            held=self._held,
            printed=printed,
        )

    def close(self) -> None:
        """End what still runs by itself, and remove what was handed over."""
        self._is_ending.set()
        if self._workers is not None:
            self._workers.close()
        self._handover.clear()
        self._surroundings.close()

    def _isolated(self) -> Workers:
        """Return the processes of this run, of which there are none before the first step that needs one."""
        with self._lock:
            if self._workers is None:
                from drivetrain.pipeline.workers import Workers  # subprocess and multiprocessing cost 10 ms

                self._workers = Workers(
                    system=self._system, store=self._store, root=self.root, handover=self._handover.folder
                )
            return self._workers


def logs_of(store: Path, run: str) -> Path:
    """Return the folder with what the steps of a run printed."""
    return store / "logs" / run


def file_name(step: str) -> str:
    """Return the name of a step's log.

    >>> file_name("rows[2013/01]")
    'rows[2013%2F01].log'
    """
    name = step.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    data = name.encode(errors="backslashreplace")
    if len(data) > NAME_BYTES:
        # The digest tells it from others that begin alike.
        data = data[: NAME_BYTES - 17] + b"-" + digest_of(data)[7:23].encode()
    return data.decode(errors="ignore") + ".log"


def log_path(store: Path, step: StepRun) -> Path:
    """Return where what a step printed is kept; one that did not run again has that of the run it was taken from.

    A step that printed nothing has no such file.
    """
    return logs_of(store, step.origin) / file_name(step.step)

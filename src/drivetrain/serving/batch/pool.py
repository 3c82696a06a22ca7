"""Workers that carry out the parts of a job beside each other: processes here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from contextlib import closing
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from drivetrain.errors import StepCrashed
from drivetrain.pipeline.ending import ending
from drivetrain.serving.batch.carry_out import Done, Hand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drivetrain.serving.batch.carry_out import Order
    from drivetrain.serving.batch.plan import Part

# A part whose process ended is tried again so often.
TRIES = 2


def here(order: Order, parts: Iterable[Part], report: Callable[[int], None]) -> Iterator[tuple[Part, Done]]:
    """Carry out parts in this process, and yield each when it is done."""
    with closing(Hand(order)) as hand:
        for part in parts:
            yield part, hand.carry_out(part, report)


def in_processes(
    order: Order, parts: Iterable[Part], report: Callable[[int], None], *, count: int
) -> Iterator[tuple[Part, Done]]:
    """Carry out parts in `count` processes, and yield each when it is done; `report` is told of rows that are read.

    A process that ends in the middle is followed by another one, and its part is tried once more.

    Raises:
        StepCrashed: the second process of a part ended too.
        DrivetrainError: what went wrong with a part; the others are given up.
    """
    waiting, tries = deque(parts), dict[int, int]()
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.part for worker in workers):
            while waiting and (free := _free(workers, order, count)):
                free.give(waiting.popleft())
            for connection in wait([worker.connection for worker in workers if worker.part]):
                worker = next(each for each in workers if each.connection is connection)
                part = worker.part
                assert part is not None
                try:
                    said = worker.connection.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    report(-worker.read)
                    tries[part.number] = tries.get(part.number, 0) + 1
                    how = worker.end(patience_s=10)
                    if tries[part.number] == TRIES:
                        raise crashed(part, how) from None
                    waiting.appendleft(part)
                    continue
                if isinstance(said, int):
                    worker.read += said
                    report(said)
                elif isinstance(said, Done):
                    worker.part = None
                    yield part, said
                else:
                    raise _of(said, part)
    finally:
        for worker in workers:
            worker.end()


def crashed(part: Part, how: str) -> StepCrashed:
    """Return the error for a part whose process has ended twice."""
    error = StepCrashed(step=f"part {part.number} ({part.file.name})", ending=f"{how}, twice")
    error.remedy = (
        "with less at once (`--workers 1`, a smaller `--part-rows`) it may fit; give the command again, and finished "
        "parts are kept"
    )
    return error


def _of(error: Exception, part: Part) -> Exception:
    error.__dict__["part"] = part
    return error


def _free(workers: list[_Worker], order: Order, count: int) -> _Worker | None:
    for worker in workers:
        if worker.part is None:
            return worker
    if len(workers) < count:
        workers.append(_Worker(order, threads=max(1, (os.cpu_count() or 1) // count)))
        return workers[-1]
    return None


class _Worker:
    """One process, and the part that it is at; `read` are the rows of it that it has read."""

    def __init__(self, order: Order, *, threads: int) -> None:
        self.part: Part | None = None
        self.read = 0
        self.connection, theirs = Pipe()
        environment = os.environ | {"POLARS_MAX_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        with theirs:
            self._process: Any = subprocess.Popen(
                [sys.executable, "-m", "drivetrain.serving.batch.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.connection.send(order)

    def give(self, part: Part) -> None:
        """Let it carry out a part."""
        self.part, self.read = part, 0
        try:
            self.connection.send(part)
        except OSError:  # it has ended already, which is seen where its answer is waited for
            return

    def end(self, *, patience_s: float = 0.2) -> str:
        """End the process, and return how it had ended by itself."""
        self.connection.close()
        code = self._process.poll()
        if code is None:
            try:
                code = self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                return "was ended"
        return ending(code)

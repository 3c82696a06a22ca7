"""The crew of a run: threads in which nodes take their turns, one after another, and what has come of them."""

from __future__ import annotations

from contextvars import Context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivetrain.pipeline.node import Node
    from drivetrain.pipeline.run import StepRun
    from drivetrain.pipeline.task import Outcome


class Ended(NamedTuple):
    """A node whose turn is over, and what came of it."""

    node: Node
    step: StepRun
    outcome: Outcome


class Crew:
    """As many threads as turns were ever taken at once. Those of `concurrent.futures` would keep Python from ending."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], Ended] | None] = SimpleQueue()
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._threads = self._busy = 0

    def begin(self, turn: Callable[[], Ended]) -> None:
        """Have a turn taken in a thread; it must not raise."""
        self._busy += 1
        if self._busy > self._threads:
            self._threads += 1
            Thread(target=self._work, daemon=True).start()
        self._waiting.put(turn)

    def hand_in(self, ended: Ended) -> None:
        """Hand in a turn that was taken in no thread of ours."""
        self._busy += 1
        self._ended.put(ended)

    def ended(self, timeout_s: float | None) -> list[Ended]:
        """Wait for a turn to end, and return all that have; nothing when the time is over first."""
        try:
            found = [self._ended.get(timeout=timeout_s)]
        except Empty:
            return []
        while not self._ended.empty():
            found.append(self._ended.get())
        self._busy -= len(found)
        return found

    def close(self) -> None:
        """Let each thread end with the turn that it is at."""
        for _ in range(self._threads):
            self._waiting.put(None)

    def _work(self) -> None:
        while (turn := self._waiting.get()) is not None:
            self._ended.put(Context().run(turn))

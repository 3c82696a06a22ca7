"""An event loop whose time passes only when something says so: load on a real queue, in no time and always the same.

A model says how long it takes, and the clock goes on by that. In the loop's own thread this holds up everybody, as it
does on a server; what is handed to the executor ends so much later, and the loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

import msgspec
from tests.serving.world import register

from drivetrain.serving.answers import Answers
from drivetrain.serving.batching import Failure, Reply
from drivetrain.serving.counters import Counters
from drivetrain.serving.curve import Curve
from drivetrain.serving.journal import Journal, Names
from drivetrain.serving.live import Live, Wanted
from drivetrain.serving.logbook import Logbook
from drivetrain.serving.predictor import Predictor
from drivetrain.serving.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from drivetrain.store.store import Store


class Clock:
    """A moment, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class _Passing(selectors.SelectSelector):
    """Waits for nothing: what the loop would sleep is added to the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and nobody will ever come"
        self._clock.now += max(0.0, timeout)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop in the time of a clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_Passing(clock))
        self._its_clock = clock

    def time(self) -> float:
        return self._its_clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # no coroutine
        clock, future = self._its_clock, self.create_future()
        began = clock.now
        result = func(*args)
        takes_s, clock.now = clock.now - began, began
        self.call_later(takes_s, future.set_result, result)
        return future


class Timed(Predictor):
    """Takes as long for a batch as it is told, and remembers when it began each, and of how many rows."""

    def __init__(self, other: Predictor, clock: Clock, takes_s: Callable[[int], float]) -> None:
        self.__dict__.update(other.__dict__)
        self.clock, self.takes_s = clock, takes_s
        self.batches: list[tuple[float, int]] = []

    @property
    def sizes(self) -> list[int]:
        """The rows of each batch."""
        return [rows for _, rows in self.batches]

    def answer(self, rows: Sequence[Any]) -> Answers:
        self.batches.append((self.clock.now, len(rows)))
        self.clock.now += self.takes_s(len(rows))
        return Answers([0.5] * len(rows))


class Told:
    """What a request was told, and how long that took in seconds."""

    def __init__(self, reply: str | Reply | Failure, took_s: float, at: float) -> None:
        self.reply, self.took_s, self.at = reply, took_s, at

    @property
    def status(self) -> int:
        return self.reply.status if isinstance(self.reply, Failure) else 200


class World:
    """A queue before a model whose times are given, in the time of a clock."""

    def __init__(self, store: Store, folder: Path, takes_s: Callable[[int], float], **options: Any) -> None:
        self.clock = Clock()
        self.loop = Loop(self.clock)
        self.model = Timed(Predictor.load(store, register(store, 1)), self.clock, takes_s)
        self.live = Live(Wanted(self.model.version), self.model, None)
        # What loading measures: one row, and sixty-four.
        self.live.curve = Curve({rows: takes_s(rows) for rows in (1, 64)}, clock=self.clock)
        self.counters = Counters(folder)
        self.options: dict[str, Any] = {"max_batch": 64, "timeout_s": 5.0, **options}
        self.folder = folder
        self.queue = Queue(
            self.loop,
            logbook=Logbook(Journal(folder, "predictions"), self.counters),
            names=Names(),
            counters=self.counters,
            clock=self.clock,
            **self.options,
        )

    async def ask(self, rows: int = 1, **more: Any) -> Told:
        """Send a request, and return what it was told."""
        began = self.clock.now
        row, text = self.live.champion.example(), msgspec.Raw(b"{}")
        form: Any = "one" if rows == 1 else "many"
        reply = await self.queue.add(self.live, [row] * rows, [text] * rows, form, **more)
        return Told(reply, self.clock.now - began, began)

    async def stream(self, per_s: float, seconds: float, **more: Any) -> list[Told]:
        """Send requests at an even rate, whatever comes of them, and return what they were told."""
        tasks = []
        for _ in range(round(per_s * seconds)):
            tasks.append(asyncio.ensure_future(self.ask(**more)))
            await asyncio.sleep(1 / per_s)
        return [await task for task in tasks]

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run something to its end."""

        async def whole() -> Any:
            return await work()

        try:
            return self.loop.run_until_complete(whole())
        finally:
            self.queue.close()
            self.counters.close()
            self.loop.close()


def share_within(told: Sequence[Told], seconds: float) -> float:
    """Return the share of the answered requests that took no longer."""
    answered = [each for each in told if each.status == 200]
    return sum(each.took_s <= seconds for each in answered) / len(answered)

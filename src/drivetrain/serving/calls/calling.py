"""The calls of a request that is being answered: until when they may take, and what has come of them."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from drivetrain.errors import CallFailed
from drivetrain.serving.answers import Called

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from drivetrain.serving.calls.exchange import Exchange
    from drivetrain.serving.calls.prediction import Prediction

T = TypeVar("T")


class Calling:
    """What one request calls, until it is answered.

    `until` is when nobody waits any longer, by `time.monotonic`. `cut` are the services whose answers were waited for
    when their time was up, or the request was given up.
    """

    def __init__(self, exchange: Exchange, until: float) -> None:
        self.until, self.cut = until, dict[str, None]()
        self._exchange = exchange
        # With the place of the row that was answered, where its class takes rows one by one.
        self._made: list[tuple[int | None, list[Called]]] = []
        self._tasks: dict[asyncio.Task[Any], str] = {}

    async def ask(self, service: str, body: bytes, *, is_many: bool) -> list[Prediction[Any]]:
        """Return what a service answers to a row, or to several.

        Raises:
            CallFailed: it gave no answer.
        """
        left_s = self.until - monotonic()
        if left_s <= 0:
            raise CallFailed(service=service, called_status=504, reason="the time was up before it was asked")
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = service
        try:
            answers = await self._exchange.port(service).ask(body, is_many=is_many, until=self.until)
        except asyncio.CancelledError:
            self.cut[service] = None
            raise
        except CallFailed as error:
            if error.status == 504:  # in this very moment the request's own time may be up
                self.cut[service] = None
            raise
        finally:
            self._tasks.pop(task, None)
        self._made.append((_ROW.get(), [Called(service, each.id, each.version) for each in answers]))
        return answers

    def taken(self, rows: int) -> list[list[Called]] | None:
        """Return the answered calls behind each row since it was last asked for; None where there was none.

        Of a class that takes a batch, a call of as many rows belongs to each of them in turn, and any other to the
        first.
        """
        if not self._made:
            return None
        found: list[list[Called]] = [[] for _ in range(rows)]
        for place, answers in self._made:
            if place is None and len(answers) == rows:
                for of_row, answer in zip(found, answers, strict=True):
                    of_row.append(answer)
            else:
                found[place or 0] += answers
        self._made.clear()
        return found

    async def of(self, work: Awaitable[T]) -> T:
        """Return what some work gives, whose calls are these; it is to be a task of its own."""
        _CALLING.set(self)
        return await work

    def end(self) -> None:
        """Stop the calls that nobody waits for any longer."""
        for task in self._tasks:
            task.cancel()

    def timed_out(self, limit_s: float) -> CallFailed | None:
        """Return the error for a request whose time ended while it waited for a call; None where it did not."""
        names = [*self.cut, *self._tasks.values()]
        if not names:
            return None
        return CallFailed(service=names[0], called_status=504, reason=f"the request had {limit_s:.3g} s")


_CALLING: ContextVar[Calling | None] = ContextVar("calling", default=None)
_ROW: ContextVar[int | None] = ContextVar("row", default=None)


async def as_row(place: int, work: Awaitable[T]) -> T:
    """Return what some work gives; its calls are those of the row at a place. It is to be a task of its own."""
    _ROW.set(place)
    return await work


def calling_now() -> Calling | None:
    """Return the calls of the request that is being answered; None where no server is at work."""
    return _CALLING.get()

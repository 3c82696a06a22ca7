"""Where the pieces of a stream come from: a generator of the user's, closed as soon as nobody listens."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from concurrent.futures import Executor

END = object()


class Source(Protocol):
    """Gives pieces one after another."""

    async def next(self) -> Any:
        """Return the next piece, or `END`."""
        ...

    async def close(self) -> None:
        """End it: its `finally` blocks run."""
        ...


class Awaited:
    """An async generator."""

    def __init__(self, generator: AsyncGenerator[Any, None]) -> None:
        self._generator = generator

    async def next(self) -> Any:
        return await anext(self._generator, END)

    async def close(self) -> None:
        await self._generator.aclose()


class Threaded:
    """A plain generator, each piece of which is made in a thread."""

    def __init__(self, make: Callable[[], Generator[Any, None, None]], threads: Executor) -> None:
        self._make, self._threads = make, threads
        self._generator: Generator[Any, None, None] | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    async def next(self) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._next)

    async def close(self) -> None:
        # It may be in the middle of a piece, which nothing can interrupt; then it is closed after that.
        self._threads.submit(self._close)

    def _next(self) -> Any:
        with self._lock:
            if self._is_closed:
                return END
            if self._generator is None:
                self._generator = self._make()
            return next(self._generator, END)

    def _close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._generator is not None:
                self._generator.close()


class Single:
    """One answer as the only piece: of a model that does not stream, beside one that does."""

    def __init__(self, make: Callable[[], Any], threads: Executor) -> None:
        self._make, self._threads = make, threads
        self._is_given = False

    async def next(self) -> Any:
        if self._is_given:
            return END
        self._is_given = True
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._make)
        return await found if inspect.isawaitable(found) else found

    async def close(self) -> None:
        pass

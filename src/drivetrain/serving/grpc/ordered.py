"""Streams: several messages of one client are answered at once, and the answers keep their order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


async def in_order(
    given: AsyncIterator[bytes], answer: Callable[[bytes], Awaitable[bytes]], *, at_once: int
) -> AsyncIterator[bytes]:
    """Yield the answer to each message; up to `at_once` are worked on, and as many are read ahead.

    >>> async def given():
    ...     for text in (b"a", b"b"):
    ...         yield text
    >>> async def doubled(text):
    ...     return text * 2
    >>> async def all_of():
    ...     return [each async for each in in_order(given(), doubled, at_once=2)]
    >>> asyncio.run(all_of())
    [b'aa', b'bb']
    """
    begun: asyncio.Queue[asyncio.Future[bytes] | None] = asyncio.Queue(at_once)

    async def begin() -> None:
        try:
            async for message in given:
                await begun.put(asyncio.ensure_future(answer(message)))
        finally:
            await begun.put(None)

    reading = asyncio.ensure_future(begin())
    try:
        while (running := await begun.get()) is not None:
            yield await running
        await reading
    finally:
        reading.cancel()
        while not begun.empty():
            if (left := begun.get_nowait()) is not None:
                left.cancel()

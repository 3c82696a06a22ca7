"""How long a client waits for its answer, as its request says it, and whether it still does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from math import inf
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from drivetrain.errors import RequestError

T = TypeVar("T")

# What clients, service meshes and gateways say how long they wait with.
MILLISECONDS, BY_ENVOY, BY_GRPC = "x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms", "grpc-timeout"
_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_GRPC = re.compile(r"(\d{1,8})([HMSmun])")


class Patience(NamedTuple):
    """Until when a client waits, by `time.monotonic`, and what ends when it has gone away, where that is known."""

    until: float = inf
    gone: Callable[[], Awaitable[Any]] | None = None

    def left_s(self, most_s: float) -> float:
        """Return how long the client still waits: 0 to `most_s`.

        >>> ENDLESS.left_s(2.0)
        2.0
        """
        return most_s if self.until == inf else max(0.0, min(most_s, self.until - monotonic()))


ENDLESS = Patience()


def patience_of(headers: Mapping[str, str], gone: Callable[[], Awaitable[Any]] | None) -> Patience:
    """Return how long the client of a request waits, by its headers, and what ends when it has gone away.

    Raises:
        RequestError: 400, a header is no time.

    >>> patience_of({}, None) is ENDLESS
    True
    """
    ends = until(headers)
    return ENDLESS if ends == inf and gone is None else Patience(ends, gone)


def until(headers: Mapping[str, str], *, now: Callable[[], float] = monotonic) -> float:
    """Return until when a client waits by the headers of its request; infinity where none says.

    Raises:
        RequestError: 400, a header is no time.

    >>> until({"x-request-timeout-ms": "250"}, now=lambda: 100.0)
    100.25
    >>> until({"grpc-timeout": "2S"}, now=lambda: 100.0)
    102.0
    """
    told = headers.get(MILLISECONDS) or headers.get(BY_ENVOY)
    if told is not None:
        try:
            waits_s = float(told) / 1000
        except ValueError:
            waits_s = -1.0
        if not 0 <= waits_s < inf:
            message = f"the header {MILLISECONDS} is {told[:60]!r}; it takes milliseconds, such as 250"
            raise RequestError(status=400, message=message)
        return now() + waits_s
    told = headers.get(BY_GRPC)
    if told is None:
        return inf
    match = _GRPC.fullmatch(told)
    if match is None:
        message = f"the header {BY_GRPC} is {told[:60]!r}; it takes a number and a unit, such as 250m"
        raise RequestError(status=400, message=message)
    return now() + int(match[1]) * _UNITS_S[match[2]]


async def unless_gone(future: asyncio.Future[Any], gone: Awaitable[Any]) -> Any:
    """Return what a future gives, and cancel it when the client goes away before.

    Raises:
        RequestError: 499, the client has gone; nobody reads it.
    """
    watch = asyncio.ensure_future(gone)
    watch.add_done_callback(lambda done: None if done.cancelled() else future.cancel())
    try:
        return await future
    except asyncio.CancelledError:
        if watch.done() and not watch.cancelled():
            raise RequestError(status=499, message="the client went away before its answer") from None
        raise
    finally:
        watch.cancel()


async def patiently(work: Coroutine[Any, Any, T], patience: Patience, most_s: float = inf) -> T:
    """Return what some work gives, and stop it when its client waits no longer, or has gone away, or after `most_s`.

    Raises:
        TimeoutError: there was no time left.
        RequestError: 499, the client has gone; nobody reads it.
    """
    left_s = patience.left_s(most_s)
    async with asyncio.timeout(None if left_s == inf else left_s):
        future = asyncio.ensure_future(work)
        found: T = await (future if patience.gone is None else unless_gone(future, patience.gone()))
        return found

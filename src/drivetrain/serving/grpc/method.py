"""A method: what answers one kind of call, over bytes; each service brings its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from google.protobuf.message import DecodeError

from drivetrain.errors import RequestError
from drivetrain.serving.cache.control import Control, control_of

if TYPE_CHECKING:
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.grpc.proto import Protos

# A call's context as grpc.aio gives it.
Context = Any


class Method(msgspec.Struct, frozen=True):
    """What answers at a path such as `/grpc.health.v1.Health/Check`.

    Just one of the three is there: `one` answers a message with one, `many` with several, and `stream` several with
    several. An `is_open` method needs no token.
    """

    one: Callable[[bytes, Context], Awaitable[bytes]] | None = None
    many: Callable[[bytes, Context], AsyncIterator[bytes]] | None = None
    stream: Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]] | None = None
    is_open: bool = False


def read(protos: Protos, name: str, given: bytes) -> Any:
    """Return the message that bytes hold.

    Raises:
        RequestError: 400, they hold none.
    """
    try:
        return protos.message(name).FromString(given)
    except DecodeError:
        message = f"the bytes are no {name}: they end early, or a text in them is not UTF-8"
        raise RequestError(status=400, message=message) from None


def check_size(given: bytes, limit: int) -> None:
    """Refuse a message that is larger than the service takes, where the server lets in what is for another.

    Raises:
        RequestError: 413, it is.
    """
    if len(given) > limit:
        raise RequestError(status=413, message=f"the message is too large; at most {limit:,} bytes are read")


def limited(method: Method, limit: int) -> Method:
    """Return a method that refuses messages of more than `limit` bytes."""

    async def one(given: bytes, context: Context) -> bytes:
        check_size(given, limit)
        assert method.one is not None
        return await method.one(given, context)

    async def stream(given: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async def checked() -> AsyncIterator[bytes]:
            async for message in given:
                check_size(message, limit)
                yield message

        assert method.stream is not None
        async for answer in method.stream(checked(), context):
            yield answer

    return Method(one=one, is_open=method.is_open) if method.one else Method(stream=stream, is_open=method.is_open)


def control_in(context: Context, desk: Desk) -> Control | None:
    """Return what the metadata of a call says of known answers, as HTTP's headers do; None where none are kept."""
    return None if desk.cached is None else control_of(dict(context.invocation_metadata() or ()))


def tell_status(context: Context, control: Control | None) -> None:
    """Say behind the answer to a call whether it was known, where the service keeps any."""
    if control is not None and control.status:
        context.set_trailing_metadata((("cache-status", control.status),))


def patience(context: Context, timeout_s: float) -> float:
    """Return how long a call may be waited for: the service's own limit, or less where the client gives up before.

    Raises:
        RequestError: 504, the client has given up already.
    """
    remaining = context.time_remaining()
    if remaining is None or remaining > timeout_s:
        return timeout_s
    if remaining <= 0:
        raise RequestError(status=504, message="the deadline of the call had passed when it arrived")
    return float(remaining)

"""Streams as server-sent events, and as messages of a WebSocket."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import RequestError
from drivetrain.serving.route import Headers, as_json, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from drivetrain.serving.desk import Desk
    from drivetrain.serving.live import Live
    from drivetrain.serving.requests import Row
    from drivetrain.serving.streaming import Event

# Some proxies gather an answer until it is whole, unless they are told not to.
EVENT_STREAM: Headers = [
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
]
# A client that takes nothing for so long is let go.
SLOW_CLIENT_S = 30.0
_NOT_TEXT, _TOO_LARGE, _GOING_AWAY = 1003, 1009, 1001


def wants_events(accept: str) -> bool:
    """Return whether a client asks for a stream.

    >>> wants_events("application/json, text/event-stream;q=0.9"), wants_events("*/*")
    (True, False)
    """
    return any(each.partition(";")[0].strip() == "text/event-stream" for each in accept.lower().split(","))


async def server_sent(
    desk: Desk, live: Live, row: Row, text: msgspec.Raw, *, until: float = inf
) -> AsyncGenerator[str, None]:
    """Give the events of a stream as text: a piece is a plain message, and other events have a name.

    At the moment `until`, by `time.monotonic`, the client waits no longer.
    """
    events = desk.streams.events(live, row, text, until=until)
    size, limit = 0, desk.service.max_stream_bytes
    try:
        async for event in events:
            told = _written(event)
            size += len(told)
            if size > limit:  # granian takes whatever it is given, whether or not the client reads
                message = f"the stream is longer than {limit:,} bytes; over a WebSocket it may be of any length"
                yield f"event: error\ndata: {as_json({'status': 413, 'error': message})}\n\n"
                return
            yield told
    finally:
        await events.aclose()


def _written(event: Event) -> str:
    if event.kind == "alive":
        return ": alive\n\n"
    name = "" if event.kind == "piece" else f"event: {event.kind}\n"
    return f"{name}data: {as_json(event.data)}\n\n"


class Sockets:
    """Answers the messages of WebSockets: a text message is a row, and each event of its stream a message back.

    `{"piece": …}` and `{"start": …}`, `{"alive": null}`, `{"end": …}` or `{"error": …}`; then the next row may come.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.open = 0

    async def serve(self, proto: Any, waits_s: float = inf) -> None:
        """Answer until the client goes away, each message within `waits_s`."""
        if self.open >= self._desk.service.max_sockets:
            proto.close(503)
            return
        self.open += 1
        transport = await proto.accept()
        inbox: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        reading = asyncio.ensure_future(_read(transport, inbox))
        answering = asyncio.ensure_future(self._answer(transport, inbox, waits_s))
        try:
            # Reading ends when the client goes away, also in the middle of a stream.
            await asyncio.wait([reading, answering], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.open -= 1
            code = answering.result() if answering.done() and not answering.exception() else None
            for task in (reading, answering):
                task.cancel()
            await asyncio.gather(reading, answering, return_exceptions=True)
            proto.close(code)

    async def _answer(self, transport: Any, inbox: asyncio.Queue[Any], waits_s: float) -> int:
        """Answer messages in turn; return the code to close with when one is none of ours."""
        limit = self._desk.service.max_body_bytes
        while True:
            message = await inbox.get()
            if not isinstance(message, str):
                await _send(transport, {"error": {"status": 415, "error": "send JSON as text messages, not binary"}})
                return _NOT_TEXT
            body = message.encode(errors="surrogatepass")
            if len(body) > limit:
                text = f"the message is too large; at most {limit:,} bytes are read"
                await _send(transport, {"error": {"status": 413, "error": text}})
                return _TOO_LARGE
            started, began = monotonic_ns(), monotonic()
            try:
                live = self._desk.live()
                row = live.reader.one(body)
                await self._desk.keep_images(live, [row])
                (text_kept,) = live.reader.kept([row], [msgspec.Raw(body.replace(b"\n", b" "))])
                events = self._desk.streams.events(live, row, text_kept, until=began + waits_s)
                try:
                    async for event in events:
                        if not await _send(transport, {event.kind: event.data}):
                            return _GOING_AWAY
                finally:
                    await events.aclose()
                self._desk.counters.answered(200, started)
            except RequestError as error:
                self._desk.counters.answered(error.status, started)
                told = msgspec.json.decode(refusal(error).body)
                await _send(transport, {"error": {"status": error.status, **told}})


async def _read(transport: Any, inbox: asyncio.Queue[Any]) -> None:
    while True:
        message = await transport.receive()
        if message.kind == 0:
            return
        # One more may wait; a client that sends further is not read until there is room.
        await inbox.put(message.data)


async def _send(transport: Any, value: Any) -> bool:
    """Send a message; return whether the client took it in time."""
    try:
        async with asyncio.timeout(SLOW_CLIENT_S):
            await transport.send_str(as_json(value))
    except TimeoutError:
        return False
    return True

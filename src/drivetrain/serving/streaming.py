"""Streams: answers that come piece by piece, to whoever listens; logged when they end."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from math import inf
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.errors import RequestError
from drivetrain.serving.calls.calling import Calling
from drivetrain.serving.journal import Ended, Line
from drivetrain.serving.live import picked
from drivetrain.serving.source import END, Awaited, Single, Source, Threaded
from drivetrain.serving.unreadable import placed
from drivetrain.store.record import new_id
from drivetrain.training.trace import of_trace, trace_now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from drivetrain.serving.calls.exchange import Exchange
    from drivetrain.serving.counters import Counters
    from drivetrain.serving.journal import Names
    from drivetrain.serving.live import Arm, Live
    from drivetrain.serving.logbook import Logbook
    from drivetrain.serving.requests import Row
    from drivetrain.serving.service import Terms

LOG = logging.getLogger("drivetrain.serving")

# Without a piece for so long, a sign of life is sent: proxies close what is silent, mostly after 30 or 60 seconds.
HEARTBEAT_S = 15.0
# The log keeps pieces up to so many bytes of JSON in all.
MOST_LOGGED_BYTES = 64 << 10
TOO_LATE = "the stream did not end in the time that the request has"

Kind = Literal["start", "piece", "alive", "end", "error"]


class Event(msgspec.Struct, frozen=True):
    """Something that a listener is told: `data` is plain JSON."""

    kind: Kind
    data: Any = None


class Streams:
    """The streams of one worker.

    At most `max_streams` run at once. Each is given up when its next piece takes longer than `timeout_s`, or it as a
    whole longer than `max_stream_s`.
    """

    def __init__(
        self, service: Terms, *, names: Names, counters: Counters, logbook: Logbook, exchange: Exchange
    ) -> None:
        self._service, self._names, self._counters, self._logbook = service, names, counters, logbook
        self._exchange = exchange
        self._threads = ThreadPoolExecutor(service.max_streams, thread_name_prefix="stream")
        self._open = 0

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check_room(self, until: float = inf) -> None:
        """Refuse one more stream than may run at once, or one whose time, by `time.monotonic`, is over.

        Raises:
            RequestError: 503, or 504.
        """
        if until <= monotonic():
            self._counters.add("expired")
            raise RequestError(status=504, message=TOO_LATE)
        if self._open >= self._service.max_streams:
            message = f"{self._open} streams run, which is as many as may; try again in a second"
            raise RequestError(status=503, message=message)

    async def events(
        self, live: Live, row: Row, text: msgspec.Raw, *, until: float = inf
    ) -> AsyncGenerator[Event, None]:
        """Give what a listener is told of the answer to a row: a start, pieces, signs of life, and an end or an error.

        Whoever stops listening closes the generator; the model's own is then closed as well, and all of it logged. So
        it is at the moment `until`, by `time.monotonic`, after which the listener waits no longer.

        Raises:
            RequestError: too many streams run, or the moment has passed.
        """
        self.check_room(until)
        (name,) = self._names.take(1)
        ((arm, predictor, _, columns),) = live.shares([row], [name], [0])
        stream = _Stream(self, name, arm, predictor, live, row, text)
        source = self._source(predictor, picked([row], columns)[0])
        self._open += 1
        self._counters.add("streams")
        self._counters.add("streams_open")
        try:
            yield Event("start", {"id": name, "version": predictor.version.id})
            async for event in self._pieces(stream, source, until):
                yield event
        finally:
            self._open -= 1
            self._counters.add("streams_open", -1)
            stream.log()
            stream.calling.end()
            await source.close()

    async def _pieces(self, stream: _Stream, source: Source, until: float) -> AsyncGenerator[Event, None]:
        service = self._service
        ends_at = min(monotonic() + service.max_stream_s, until)
        while True:
            limit_at = min(ends_at, monotonic() + service.timeout_s)
            stream.calling.until = limit_at
            waiting = asyncio.ensure_future(stream.calling.of(source.next()))
            try:
                while not (await asyncio.wait([waiting], timeout=min(HEARTBEAT_S, limit_at - monotonic())))[0]:
                    if monotonic() >= limit_at:
                        late = stream.calling.timed_out(service.timeout_s)
                        what = late.message if late else f"the model gave nothing for {service.timeout_s:g} s"
                        if ends_at <= limit_at:
                            what = f"the stream as a whole took longer than {service.max_stream_s:g} s"
                        if until <= limit_at:
                            what = TOO_LATE
                            self._counters.add("expired")
                        yield stream.timed_out(what)
                        return
                    yield Event("alive")
                piece = waiting.result()
                if piece is END:
                    stream.ended = "end"
                    break
                told = stream.predictor.piece(piece)
            except Exception as error:  # the generator is the user's, and may raise anything
                yield stream.failed(error)
                return
            finally:
                if not waiting.done():
                    waiting.cancel()
                    await asyncio.wait([waiting])  # a generator that still runs cannot be closed
            stream.took(told)
            yield Event("piece", told)
        stream.log()  # before the client knows that all is there
        yield Event("end", {"id": stream.name, "pieces": stream.pieces, "seconds": round(stream.seconds(), 4)})

    def _source(self, predictor: Arm, row: Row) -> Source:
        model = getattr(predictor, "model", None)
        form = getattr(predictor, "form", None)
        if model is not None and form is not None and form.streams:
            return Awaited(model.call(row)) if form.is_async else Threaded(lambda: model.call(row), self._threads)
        return Single(lambda: predictor.answer([row]).predictions[0], self._threads)

    async def whole(self, live: Live, row: Row, text: msgspec.Raw) -> dict[str, Any]:
        """Return the answer of a stream when it has ended: the prediction is the list of its pieces.

        Raises:
            RequestError: it failed, or took too long.
        """
        pieces: list[Any] = []
        start: dict[str, Any] = {}
        streams = True
        async for event in self.events(live, row, text):
            if event.kind == "start":
                start = event.data
                version = start["version"]
                arms = [arm for arm in (live.champion, live.challenger) if arm is not None]
                streams = next(arm for arm in arms if arm.version.id == version).version.signature.streams
            elif event.kind == "piece":
                pieces.append(event.data)
            elif event.kind == "error":
                facts = event.data
                raise RequestError(
                    status=facts["status"],
                    message=facts["error"],
                    problems=facts.get("problems", ()),
                    error_id=facts.get("error_id", ""),
                )
        return {**start, "prediction": pieces if streams else pieces[0]}


class _Stream:
    """What is known of one stream so far."""

    def __init__(
        self, streams: Streams, name: str, arm: str, predictor: Arm, live: Live, row: Row, text: msgspec.Raw
    ) -> None:
        self._streams, self.name, self._arm, self.predictor = streams, name, arm, predictor
        self._live, self._row, self._text = live, row, text
        self._at, self._began = time_ns() // 1000, monotonic()
        self.calling = Calling(streams._exchange, self._began)
        self._trace = trace_now()
        self.pieces = 0
        self.ended: Literal["end", "closed", "error", "timeout"] = "closed"
        self._is_logged = False
        self._first_s: float | None = None
        self._kept: list[msgspec.Raw] = []
        self._kept_bytes = 0

    def seconds(self) -> float:
        """Return how long it has run."""
        return monotonic() - self._began

    def took(self, told: Any) -> None:
        """Take in a piece that is on its way."""
        counters = self._streams._counters
        if self._first_s is None:
            self._first_s = self.seconds()
            counters.add("first_pieces")
            counters.add("first_piece_ns", int(self._first_s * 1e9))
        self.pieces += 1
        counters.add("pieces")
        if self._kept_bytes < MOST_LOGGED_BYTES:
            kept = msgspec.json.encode(told)
            self._kept.append(msgspec.Raw(kept))
            self._kept_bytes += len(kept)

    def timed_out(self, what: str) -> Event:
        """Return what is told when it takes too long, in which way."""
        self.ended = "timeout"
        return Event("error", {"status": 504, "error": what})

    def failed(self, error: Exception) -> Event:
        """Return what is told when the model raises."""
        self.ended = "error"
        if isinstance(error, RequestError):
            told = placed(error, self._live.reader, [self._row])
            problems = {"problems": told.problems} if told.problems else {}
            return Event("error", {"status": told.status, "error": told.message, **problems})
        error_id = new_id("error")
        LOG.error("%s: a stream could not go on%s", error_id, of_trace(self._trace), exc_info=error)
        message = f"the model failed in this stream; the server's log has more under {error_id}"
        return Event("error", {"status": 500, "error": message, "error_id": error_id})

    def log(self) -> None:
        """Write down what was streamed, and how it ended; once."""
        if self._is_logged:
            return
        self._is_logged = True
        counters = self._streams._counters
        if self.ended == "closed":
            counters.add("streams_left")
        ended = Ended(
            how=self.ended,
            pieces=self.pieces,
            seconds=round(self.seconds(), 6),
            first_s=None if self._first_s is None else round(self._first_s, 6),
        )
        place = self._live.key_place
        line = Line(
            self._at,
            self.predictor.version.id,
            self._arm,
            [self.name],
            None if place is None else [self._row[place]],
            [self._text],
            [self._kept],
            streams=[ended],
            calls=self.calling.taken(1),
            traces=[self._trace.id] if self._trace else None,
        )
        self._streams._logbook.write(msgspec.json.encode(line) + b"\n", 1)
        counters.add("rows")
        if self._arm == "canary":
            counters.add("rows_canary")

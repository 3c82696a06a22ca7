"""The server's application with a stopwatch at its stages; the application itself knows nothing of it."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.load.speed.trace import Stage, Trace, Traced, Worker
from drivetrain.serving import direct, enrichment, queue, table
from drivetrain.serving.app import App
from drivetrain.serving.predictor import Predictor

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from drivetrain.serving.config import Config
    from drivetrain.serving.service import Terms

    Around = Callable[[Callable[..., Any]], Callable[..., Any]]

# The trace of the request to which what runs now belongs: each request is a task of its own.
_OWN: ContextVar[Trace | None] = ContextVar("trace", default=None)
_ID = re.compile(r'"id":"(pred-[0-9a-z]{18})"')
_LOOK_S = 0.02


class TracedApp(App):
    """Answers as `App` does, and writes down how long each request was in each stage, into a file of `folder`."""

    def __init__(self, service: Terms, config: Config, *, folder: Path) -> None:
        super().__init__(service, config)
        self._folder = folder
        self._requests: list[Traced] = []
        self._processor: list[tuple[float, float]] = []
        # The batches that are on their way, by the identity of their rows; those that are answered, by their ids.
        self._batches: dict[int, Trace] = {}
        self._answered: dict[str, Trace] = {}
        # The batch that is being answered or told; there is one at a time.
        self._batch: Trace | None = None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__rsgi_init__(loop)
        self._set_up()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        live = self.desk.live()
        worker = Worker(
            build=live.champion.build,
            is_awaited=live.is_awaited,
            requests=self._requests,
            processor=self._processor,
            curve=live.curve.measured(),
        )
        (self._folder / f"{os.getpid()}.worker").write_bytes(msgspec.msgpack.encode(worker))
        super().__rsgi_del__(loop)

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        if scope.proto == "ws" or scope.path != "/predict":
            await super().__rsgi__(scope, proto)
            return
        trace = Trace(perf_counter(), "admission")
        _OWN.set(trace)
        await super().__rsgi__(scope, _Proto(proto, trace, self._ended))

    async def _body(self, proto: Any, headers: Any, takes: tuple[str, ...]) -> bytes:
        trace = _OWN.get()
        if trace is not None:
            trace.enter("body", perf_counter())
        body = await super()._body(proto, headers, takes)
        if trace is not None:
            trace.enter("decoding", perf_counter())
        return body

    def _ended(self, trace: Trace, body: str | bytes) -> None:
        found = _ID.search(body if isinstance(body, str) else body.decode())
        if found:
            self._requests.append(Traced(found[1], trace.began, trace.ended, trace.rows, trace.spent))
        if not self._processor or trace.ended - self._processor[-1][0] > _LOOK_S:
            self._processor.append((trace.ended, process_time()))

    def _set_up(self) -> None:
        """Put the stopwatch to each stage."""
        desk, live = self.desk, self.desk.live()
        _put(desk, desk.ask_text, self._asked)
        _put(desk.counters, desk.counters.answered, self._own("counters"))
        _put(desk.counters, desk.counters.add, self._stage("counters"))
        _put(desk.logbook, desk.logbook.write, self._stage("log"))
        _put_by_name(queue, "answered", self._answering)
        for callback in (desk._queue._flush, desk._queue._finished):
            _put(desk._queue, callback, _of_nobody)
        _put(desk._queue, desk._queue._settle, self._settling)
        for module in (queue, direct):
            _put_by_name(module, "replies", self._stage("answer"))
            _put_by_name(module, "lines_of", self._stage("log"))
        _put(desk.streams, desk.streams.whole, self._streamed)
        _put(desk.streams, desk.streams._source, self._source)
        for module in (enrichment, table):
            _put_by_name(module, "frame_of", self._stage("table"))
        arm = live.champion
        _put(arm, arm.awaited, self._awaited("model"))
        if isinstance(arm, Predictor):
            _put(arm, arm._of_model, self._stage("model"))
            if arm._takes_rows:
                _put(arm._model, arm._model.scores, self._stage("model"))
            if arm._features is not None:
                _put(arm._features, arm._features.frame, self._stage("features"))
        else:
            _put(arm.model, arm.model.answer, self._stage("model"))

    def _stage(self, stage: Stage) -> Around:
        """Return what counts a call for a stage of the batch that is answered, or else of the request."""
        return self._timed(stage, lambda: self._batch or _OWN.get())

    def _own(self, stage: Stage) -> Around:
        """Return what counts a call for a stage of the request, whatever the batches do meanwhile."""
        return self._timed(stage, _OWN.get)

    def _timed(self, stage: Stage, whose: Callable[[], Trace | None]) -> Around:
        def around(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*given: Any, **named: Any) -> Any:
                trace = whose()
                if trace is None:
                    return function(*given, **named)
                left = trace.enter(stage, perf_counter())
                try:
                    return function(*given, **named)
                finally:
                    trace.enter(left, perf_counter())

            return call

        return around

    def _awaited(self, stage: Stage) -> Around:
        def around(function: Callable[..., Any]) -> Callable[..., Any]:
            async def call(*given: Any, **named: Any) -> Any:
                trace = _OWN.get()
                left = trace.enter(stage, perf_counter()) if trace else stage
                try:
                    return await function(*given, **named)
                finally:
                    if trace:
                        trace.enter(left, perf_counter())

            return call

        return around

    def _asked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*given: Any, **named: Any) -> Any:
            trace = _OWN.get()
            if trace is None:
                return await function(*given, **named)
            trace.enter("waiting", perf_counter())
            told = await function(*given, **named)
            found = _ID.search(told)
            batch = self._answered.pop(found[1], None) if found else None
            now = perf_counter()
            if batch is None:
                trace.enter("answer", now)
            else:
                trace.joined(batch, now)
            return told

        return call

    def _answering(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(batch: Any, *given: Any, **named: Any) -> Any:
            trace = self._batches[id(batch)] = self._batch = Trace(perf_counter(), "answer", rows=len(batch.rows))
            try:
                return function(batch, *given, **named)
            finally:
                trace.enter("rest", perf_counter())
                self._batch = None

        return call

    def _settling(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(batch: Any, *given: Any, **named: Any) -> Any:
            self._batch = trace = self._batches.pop(id(batch), None)
            try:
                return function(batch, *given, **named)
            finally:
                self._batch = None
                if trace is not None:
                    trace.end(perf_counter())
                    self._answered.update(dict.fromkeys(batch.names, trace))

        return call

    def _streamed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self._awaited("rest")(function)

    def _source(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            source = function(*given, **named)
            _put(source, source.next, self._awaited("model"))
            return source

        return call


def _of_nobody(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a callback of the loop that belongs to no request, although one of them has asked for it."""

    def call(*given: Any, **named: Any) -> Any:
        _OWN.set(None)
        return function(*given, **named)

    return call


def _put(owner: Any, method: Callable[..., Any], around: Around) -> None:
    """Put something around a method of an object; that it is there, the type checker sees."""
    _put_by_name(owner, method.__name__, around)


def _put_by_name(owner: Any, name: str, around: Around) -> None:
    setattr(owner, name, around(getattr(owner, name)))


class _Proto:
    """What the HTTP server gives for a request; the moment at which it is handed the answer ends the trace."""

    def __init__(self, proto: Any, trace: Trace, ended: Callable[[Trace, str | bytes], None]) -> None:
        self._proto, self._trace, self._ended = proto, trace, ended
        self.client_disconnect = proto.client_disconnect

    def __call__(self) -> Any:
        return self._proto()

    def __aiter__(self) -> Any:
        return aiter(self._proto)

    def response_str(self, status: int, headers: Any, body: str) -> None:
        """Hand a text over."""
        self._trace.end(perf_counter())
        self._proto.response_str(status, headers, body)
        self._ended(self._trace, body)

    def response_bytes(self, status: int, headers: Any, body: bytes) -> None:
        """Hand bytes over."""
        self._proto.response_bytes(status, headers, body)

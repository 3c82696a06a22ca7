"""A service as an RSGI application, one in each worker process."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from drivetrain.errors import RequestError
from drivetrain.serving.bare import Bare
from drivetrain.serving.cache.control import control_of
from drivetrain.serving.encoding import WORTH_BYTES
from drivetrain.serving.entrance import failed
from drivetrain.serving.events import Sockets
from drivetrain.serving.invocations import Invocations
from drivetrain.serving.jobs.api import JobsApi
from drivetrain.serving.native import Native
from drivetrain.serving.oip import Oip
from drivetrain.serving.openai import OpenAI
from drivetrain.serving.patience import patience_of, until
from drivetrain.serving.route import Answer, Request, Routes, Streamed, refusal
from drivetrain.serving.streams.state import exposition
from drivetrain.serving.worker import Worker
from drivetrain.training.trace import PARENT, STATE, follow

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivetrain.serving.calls.exchange import Exchange
    from drivetrain.serving.config import Config
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.service import Terms

_JSON_BODY = ("application/json",)


class App(Worker):
    """Answers requests to a service from this process, alone or below its name beside others."""

    desk: Desk

    def __init__(self, service: Terms, config: Config) -> None:
        super().__init__([service], config)
        self.service = service
        self._caches = service.cache is not None

    def open(self, exchange: Exchange, *, base: str = "") -> list[Desk]:
        """Begin to answer, with what an exchange has loaded; `base` is the path below which the service is asked."""
        self.desk = exchange.desk(self.service)
        self._jobs = JobsApi(self.desk, self.config, base=base)
        invocations = Invocations(self.desk)
        protocols = (
            Bare(self.desk), Oip(self.desk), invocations, OpenAI(self.desk, invocations.models), self._jobs,
        )  # fmt: skip
        others = [route for protocol in protocols for route in protocol.routes()]
        self._native = Native(self.desk, others, self.more_metrics, base=base)
        self._routes = Routes([*self._native.routes(), *others])
        self._sockets = Sockets(self.desk)
        return [self.desk]

    def more_metrics(self) -> str:
        """Return what is counted elsewhere than at the desk, in the form of Prometheus."""
        return self._jobs.metrics() + exposition(self.desk.store.ledger, self.service.name)

    def close(self) -> None:
        """Answer no more jobs; the exchange closes the desk."""
        self._jobs.close()

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        started = monotonic_ns()
        refuse: Callable[[RequestError], Answer] = refusal
        headers = scope.headers
        if PARENT in headers:
            follow(headers.get_all(PARENT), headers.get_all(STATE))
        if scope.proto == "ws":
            await self._socket(scope, proto)
            return
        method, path = scope.method, scope.path
        control = control_of(headers) if self._caches else None
        try:
            self._admit(scope, headers, path)
            patience = patience_of(headers, proto.client_disconnect if self.desk.may_wait else None)
            # Nearly all requests go straight on.
            if (
                path == "/predict"
                and method == "POST"
                and headers.get("content-type") == "application/json"
                and not self.desk.is_streaming
            ):
                given = await self._body(proto, headers, _JSON_BODY)
                status, fields, body = await self._native.predicted(given, patience, control)
            else:
                route, parameters = self._routes.find(method, path)
                refuse = route.refuse
                given = await self._body(proto, headers, route.takes) if route.takes else b""
                answer = await route.handle(
                    Request(method, path, scope.query_string, headers, parameters, given, patience, control)
                )
                if isinstance(answer, Streamed):
                    await self._stream(answer, proto, started)
                    return
                status, fields, body = answer
        except RequestError as error:
            status, fields, body = refuse(error)
        except Exception as error:  # whatever went wrong here is ours, and the client still gets an answer
            status, fields, body = refuse(failed(error, scope))
        if control is not None and control.status:
            fields = [*fields, ("cache-status", control.status)]
        if len(body) >= WORTH_BYTES:
            fields, body = await self._compressed(headers, fields, body)
        # Counted before the client has the answer, so that whoever reads the counters next finds it there.
        self.desk.counters.answered(status, started)
        if scope.method == "HEAD":
            body = ""
        if isinstance(body, str):
            proto.response_str(status, fields, body)
        else:
            proto.response_bytes(status, fields, body)

    async def _stream(self, answer: Streamed, proto: Any, started: int) -> None:
        """Send the pieces of an answer until they end or the client goes away; the first may still be a refusal."""
        texts = answer.texts
        sending = asyncio.ensure_future(_sent(answer, proto))
        gone = asyncio.ensure_future(_gone(proto))
        try:
            await asyncio.wait([sending, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
            await texts.aclose()
            self.desk.counters.answered(answer.status, started)

    async def _socket(self, scope: Any, proto: Any) -> None:
        """Answer a WebSocket at /stream. Browsers let any page open one, and say from where in the Origin header."""
        started = monotonic_ns()
        try:
            self._admit(scope, scope.headers, scope.path)
            origin = scope.headers.get("origin")
            host = scope.authority or scope.headers.get("host") or ""
            if origin is not None and origin.partition("://")[2] != host:
                raise RequestError(status=403, message="a page of another origin may not open a socket here")
            if scope.path != "/stream":
                raise RequestError(status=404, message="sockets are at /stream")
            # Each message is a request of its own, and has so long from its arrival.
            waits_s = until(scope.headers, now=lambda: 0.0)
        except RequestError as error:
            self.desk.counters.answered(error.status, started)
            proto.close(error.status)
            return
        await self._sockets.serve(proto, waits_s)


async def _gone(proto: Any) -> None:
    # What granian gives can be awaited, and is no future of asyncio's.
    await proto.client_disconnect()


async def _sent(answer: Streamed, proto: Any) -> None:
    transport = proto.response_stream(answer.status, answer.headers)
    async for text in answer.texts:
        await transport.send_str(text)

"""The server as an RSGI application, one in each worker process: who may ask, and what is read."""

from __future__ import annotations

import asyncio
import hmac
import logging
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # it is public, and not listed as such

from drivetrain.errors import RequestError
from drivetrain.serving.cache.control import control_of
from drivetrain.serving.calls.addresses import Addresses
from drivetrain.serving.calls.exchange import Exchange
from drivetrain.serving.desk import Desk
from drivetrain.serving.encoding import COMPRESSED, QUICK_BYTES, WORTH_BYTES, chosen, decoded, encoded
from drivetrain.serving.events import Sockets
from drivetrain.serving.invocations import Invocations
from drivetrain.serving.jobs.api import JobsApi
from drivetrain.serving.jobs.terms import Callbacks
from drivetrain.serving.media import UNNAMED, right_type
from drivetrain.serving.native import Native
from drivetrain.serving.oip import Oip
from drivetrain.serving.openai import OpenAI
from drivetrain.serving.patience import patience_of, until
from drivetrain.serving.route import Answer, Headers, Request, Routes, Streamed, refusal
from drivetrain.serving.streams.state import exposition
from drivetrain.store.record import new_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drivetrain.serving.grpc.server import GrpcServer
    from drivetrain.serving.service import Terms

LOG = logging.getLogger("drivetrain.serving")

# A client that is cut off while it sends does not see why: so many times the limit are let pass by unread.
PATIENCE = 8
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
_JSON_BODY = ("application/json",)


class App:
    """Answers requests to a service from this process.

    `hosts` are the names that the Host header may give; empty allows all. `token` is what every request must carry,
    save those for /healthz and /readyz; empty asks for none. Models that are pickles are read where `allow_pickle` is
    set. gRPC is answered at `grpc_host` and `grpc_port`, where there is one.
    """

    def __init__(
        self,
        service: Terms,
        store_path: Path,
        *,
        allow_pickle: bool = False,
        token: str = "",
        hosts: tuple[str, ...] = (),
        grpc_host: str = "",
        grpc_port: int = 0,
        callbacks: Callbacks | None = None,
        addresses: Addresses | None = None,
    ) -> None:
        self.service, self._store_path, self._allow_pickle = service, store_path, allow_pickle
        self._callbacks, self._addresses = callbacks or Callbacks(), addresses or Addresses()
        self._token, self._grpc_host, self._grpc_port = token, grpc_host, grpc_port
        self._grpc: GrpcServer | None = None
        self._authorization = f"Bearer {token}".encode() if token else b""
        self._hosts = frozenset(hosts)
        self._known_hosts: set[str] = set()
        self._max_body = service.max_body_bytes
        self._caches = service.cache is not None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        from drivetrain.store.store import Store

        store = Store.open(self._store_path, allow_pickle=self._allow_pickle)
        exchange = Exchange(partial(Desk, loop, store=store), self._addresses)
        exchange.open(self.service)
        self._desk = Desk(loop, self.service, store, exchange=exchange, grpc_port=self._grpc_port)
        self._jobs = JobsApi(self._desk, self._store_path, self._callbacks)
        invocations = Invocations(self._desk)
        protocols = (Oip(self._desk), invocations, OpenAI(self._desk, invocations.models), self._jobs)
        others = [route for protocol in protocols for route in protocol.routes()]
        self._native = Native(self._desk, others, self._more_metrics)
        self._routes = Routes([*self._native.routes(), *others])
        if self._grpc_port:
            from drivetrain.serving.grpc.server import GrpcServer

            self._grpc = GrpcServer(self._desk, f"{self._grpc_host}:{self._grpc_port}", token=self._token)
            loop.run_until_complete(self._grpc.start())
        self._sockets = Sockets(self._desk)

    def _more_metrics(self) -> str:
        return self._jobs.metrics() + exposition(self._desk.store.ledger, self.service.name)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._grpc is not None:
            loop.run_until_complete(self._grpc.stop(self.service.timeout_s))
        self._jobs.close()
        self._desk.close()
        loop.run_until_complete(self._desk.exchange.close())

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        started = monotonic_ns()
        refuse: Callable[[RequestError], Answer] = refusal
        if scope.proto == "ws":
            await self._socket(scope, proto)
            return
        method, path, headers = scope.method, scope.path, scope.headers
        control = control_of(headers) if self._caches else None
        try:
            self._admit(scope, headers, path)
            patience = patience_of(headers, proto.client_disconnect if self._desk.may_wait else None)
            # Nearly all requests go straight on.
            if (
                path == "/predict"
                and method == "POST"
                and headers.get("content-type") == "application/json"
                and not self._desk.is_streaming
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
            status, fields, body = refuse(_failed(error, scope))
        if control is not None and control.status:
            fields = [*fields, ("cache-status", control.status)]
        if len(body) >= WORTH_BYTES:
            fields, body = await self._compressed(headers, fields, body)
        # Counted before the client has the answer, so that whoever reads the counters next finds it there.
        self._desk.counters.answered(status, started)
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
            self._desk.counters.answered(answer.status, started)

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
            self._desk.counters.answered(error.status, started)
            proto.close(error.status)
            return
        await self._sockets.serve(proto, waits_s)

    def _admit(self, scope: Any, headers: Any, path: str) -> None:
        """Refuse a request that a foreign page made a browser send, or that lacks the token."""
        if self._hosts:
            host = scope.authority or headers.get("host") or ""
            if host not in self._known_hosts:
                name = host if host.endswith("]") else host.rpartition(":")[0] or host
                if name.lower() not in self._hosts:
                    raise RequestError(status=421, message=f"this server does not answer for the host {host[:100]!r}")
                if len(self._known_hosts) < 64:
                    self._known_hosts.add(host)
        if self._authorization and path not in ("/healthz", "/readyz"):
            given = (headers.get("authorization") or "").encode(errors="replace")
            if not hmac.compare_digest(given, self._authorization):
                message = "the token is missing or wrong: send `Authorization: Bearer TOKEN`"
                raise RequestError(status=401, message=message)

    async def _body(self, proto: Any, headers: Any, takes: tuple[str, ...]) -> bytes:
        kind = headers.get("content-type") or ""
        if kind not in takes and kind.partition(";")[0].strip().lower() not in takes:
            raise RequestError(status=415, message=right_type(kind, takes))
        # A page of another site can send this without being asked for leave.
        if kind.partition(";")[0].strip().lower() in UNNAMED and headers.get("origin"):
            raise RequestError(status=415, message="send a Content-Type: a request from a page must name one")
        length = headers.get("content-length")
        body: bytes
        try:
            if length is not None and int(length) <= self._max_body:
                body = await proto()
            else:
                body = await self._limited(proto)
        except ProtocolClosed:
            raise RequestError(status=400, message="the body ends before the length that its header says") from None
        if length is not None and len(body) != int(length):
            found = f"the body has {len(body):,} bytes, and its header says {length[:20]}"
            raise RequestError(status=400, message=found)
        encoding = headers.get("content-encoding")
        return body if not encoding else await self._decoded(body, encoding)

    async def _decoded(self, body: bytes, encoding: str) -> bytes:
        work = partial(decoded, body, encoding, limit=self._max_body)
        # How much comes out is not known beforehand, but not more than a thousand times as much.
        return work() if len(body) * 1000 <= QUICK_BYTES else await self._desk.aside(work)

    async def _compressed(self, headers: Any, fields: Headers, body: str | bytes) -> tuple[Headers, str | bytes]:
        """Return a large answer compressed, where the client takes that and it is not compressed already."""
        name = chosen(headers.get("accept-encoding") or "")
        if not name or any(field == "content-type" and value in COMPRESSED for field, value in fields):
            return fields, body
        plain = body.encode() if isinstance(body, str) else body
        work = partial(encoded, plain, name)
        told = work() if len(plain) <= QUICK_BYTES else await self._desk.aside(work)
        return [*fields, ("content-encoding", name), ("vary", "accept-encoding")], told

    async def _limited(self, proto: Any) -> bytes:
        """Return a body whose length is not known or too large, without ever holding more than is allowed."""
        parts, size = [], 0
        async for part in proto:
            size += len(part)
            if size <= self._max_body:
                parts.append(bytes(part))
            elif size > self._max_body * PATIENCE:
                break
        if size > self._max_body:
            raise RequestError(status=413, message=f"the body is too large; at most {self._max_body:,} bytes are read")
        return b"".join(parts)


async def _gone(proto: Any) -> None:
    # What granian gives can be awaited, and is no future of asyncio's.
    await proto.client_disconnect()


async def _sent(answer: Streamed, proto: Any) -> None:
    transport = proto.response_stream(answer.status, answer.headers)
    async for text in answer.texts:
        await transport.send_str(text)


def _failed(error: Exception, scope: Any) -> RequestError:
    error_id = new_id("error")
    LOG.error("%s: %s %s", error_id, scope.method, scope.path, exc_info=error)
    message = f"the server failed on this request; its log has more under {error_id}"
    return RequestError(status=500, message=message, error_id=error_id)

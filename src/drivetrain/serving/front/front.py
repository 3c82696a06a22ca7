"""The application of a server for several services: it hands each request on to the service that is meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # it is public, and not listed as such

from drivetrain.errors import RequestError
from drivetrain.serving.app import App
from drivetrain.serving.encoding import WORTH_BYTES
from drivetrain.serving.entrance import failed
from drivetrain.serving.front.directory import Directory
from drivetrain.serving.front.whole import Whole
from drivetrain.serving.openai import PASSED
from drivetrain.serving.openai import refusal as openai_refusal
from drivetrain.serving.route import Answer, Request, Routes, refusal
from drivetrain.serving.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from drivetrain.serving.calls.exchange import Exchange
    from drivetrain.serving.config import Config
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.service import Terms

# Where other protocols name the model in the path, as their clients write it.
_NAMING = re.compile(
    r"/v2/(?:repository/)?models/([^/]+)(?:/.*)?|/v1/models/([^/:]+)(?:/versions/[^/:]+)?(?::predict)?"
)


class Front(Worker):
    """Answers requests to several services from this process, each below its name: `/arrivals/predict`.

    Each is an `App` of its own, with its own limits, log and counters; what one calls and the server answers for as
    well is loaded once. A request that names a model as another protocol does goes to the service that has it.
    """

    def __init__(self, services: Sequence[Terms], config: Config) -> None:
        super().__init__(services, config)
        self._apps = {each.name: App(each, config) for each in services}
        self._directory = Directory([(app.service, app) for app in self._apps.values()])

    def open(self, exchange: Exchange) -> list[Desk]:
        """Begin to answer, with what an exchange has loaded."""
        desks = [desk for name, app in self._apps.items() for desk in app.open(exchange, base=f"/{name}")]
        self._routes = Routes(Whole(list(self._apps.values())).routes())
        return desks

    def close(self) -> None:
        """Answer no more jobs; the exchange closes the desks."""
        for app in self._apps.values():
            app.close()

    def __rsgi__(self, scope: Any, proto: Any) -> Coroutine[Any, Any, None]:
        # It only looks who is meant, and gives what that service's own application does.
        path = scope.path
        end = path.find("/", 1)
        app = self._apps.get(path[1:end]) if end > 0 else None
        return self._own(scope, proto, path) if app is None else app.__rsgi__(_Below(scope, path[end:]), proto)

    async def _own(self, scope: Any, proto: Any, path: str) -> None:
        """Answer what is asked of the whole server, or of a model by its name."""
        method, headers = scope.method, scope.headers
        refuse: Callable[[RequestError], Answer] = openai_refusal if path in PASSED else refusal
        try:
            self._admit(scope, headers, path)
            meant = await self._meant(scope, proto, path)
            if meant is not None:
                app, proto = meant
                await app.__rsgi__(scope, proto)
                return
            try:
                route, parameters = self._routes.find(method, path)
            except RequestError as error:
                raise error if error.status == 405 else self._nothing(path) from None
            given = await self._body(proto, headers, route.takes) if route.takes else b""
            answer = await route.handle(Request(method, path, scope.query_string, headers, parameters, given))
            assert isinstance(answer, Answer)
            status, fields, body = answer
        except RequestError as error:
            status, fields, body = refuse(error)
        except Exception as error:  # whatever went wrong here is ours, and the client still gets an answer
            status, fields, body = refuse(failed(error, scope))
        if scope.proto == "ws":
            proto.close(status)
            return
        if len(body) >= WORTH_BYTES:
            fields, body = await self._compressed(headers, fields, body)
        if method == "HEAD":
            body = ""
        if isinstance(body, str):
            proto.response_str(status, fields, body)
        else:
            proto.response_bytes(status, fields, body)

    async def _meant(self, scope: Any, proto: Any, path: str) -> tuple[App, Any] | None:
        """Return the service whose model a request names, and how its body is read; None where it names none.

        Raises:
            RequestError: there is no such model.
        """
        if scope.proto == "ws":
            raise self._nothing(path)
        if path in PASSED and scope.method == "POST":
            return await self._named_within(proto, scope.headers)
        found = _NAMING.fullmatch(path)
        if found is None or path == "/v2/models/stats":
            return None
        return self._directory.find(unquote(found[1] or found[2])), proto

    async def _named_within(self, proto: Any, headers: Any) -> tuple[App, Any]:
        """Return the service whose model the body of a request names, which that service then reads as if it came."""
        try:
            body = await self._limited(proto)
        except ProtocolClosed:
            raise RequestError(status=400, message="the body ends before the length that its header says") from None
        encoding = headers.get("content-encoding")
        plain = await self._decoded(body, encoding) if encoding else body
        try:
            name = msgspec.json.decode(plain, type=_Naming).model
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            message = "the body is no JSON object whose `model` is a text: that says which service is asked"
            raise RequestError(status=400, message=message) from None
        return self._directory.find(name.partition("@")[0]), _Received(proto, body)

    def _nothing(self, path: str) -> RequestError:
        names = list(self._apps)
        known = f"this server answers for {', '.join(names)}, each below its name, such as /{names[0]}/predict"
        return RequestError(status=404, message=f"there is nothing at {path[:100]}: {known}")


class _Naming(msgspec.Struct):
    model: str


class _Below:
    """A request as it is to a service below its name; only the path is another."""

    __slots__ = ("_scope", "headers", "method", "path", "proto")

    def __init__(self, scope: Any, path: str) -> None:
        self._scope, self.path = scope, path
        self.proto, self.method, self.headers = scope.proto, scope.method, scope.headers

    @property
    def authority(self) -> str | None:
        return self._scope.authority  # type: ignore[no-any-return]  # granian's, and has no types

    @property
    def query_string(self) -> str:
        return self._scope.query_string  # type: ignore[no-any-return]


class _Received:
    """What the HTTP server gives for a request whose body has been read already."""

    def __init__(self, proto: Any, body: bytes) -> None:
        self._body = body
        self.client_disconnect = proto.client_disconnect
        self.response_str, self.response_bytes = proto.response_str, proto.response_bytes
        self.response_stream = proto.response_stream

    async def __call__(self) -> bytes:
        return self._body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body

"""The gRPC server of a worker: on the loop that HTTP is answered on, so that rows of both stand in the same batches."""

from __future__ import annotations

import hmac
import logging
from importlib.resources import files
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

import grpc

from drivetrain.errors import RequestError
from drivetrain.serving.grpc.health import Health
from drivetrain.serving.grpc.inference import Inference
from drivetrain.serving.grpc.proto import Protos
from drivetrain.serving.grpc.reflection import Reflection
from drivetrain.serving.grpc.status import code_of, message_of, trailers_of
from drivetrain.serving.grpc.typed import Typed
from drivetrain.store.record import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from drivetrain.serving.desk import Desk
    from drivetrain.serving.grpc.method import Context, Method

LOG = logging.getLogger("drivetrain.serving")
_FILES = ("open_inference.proto", "health.proto", "reflection_v1.proto", "reflection_v1alpha.proto")


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC has no types
    """Answers calls in this process; all workers listen on the same port, and the kernel deals out connections."""

    def __init__(self, desk: Desk, address: str, *, token: str = "") -> None:
        self._desk, self._address = desk, address
        self._authorization = f"Bearer {token}".encode() if token else b""
        self._protos = Protos({name: (files(__package__) / name).read_text("utf-8") for name in _FILES})
        self._typed = Typed(desk)
        self._health = Health(desk, self._protos, [*self._protos.services(), self._typed.name])
        services = (Inference(desk, self._protos), self._typed, self._health, Reflection(self._protos, self._described))
        methods: dict[str, Method] = {path: each for service in services for path, each in service.methods().items()}
        self._open = {path for path, method in methods.items() if method.is_open}
        self._handlers = {path: self._handler(method) for path, method in methods.items()}
        self._refused = grpc.stream_stream_rpc_method_handler(_unauthenticated)

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: the address cannot be listened on.
        """
        options = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._desk.service.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            # Clients that keep an idle connection alive are not taken for attackers.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((self,))
        try:
            self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen on {self._address}") from error
        await self._server.start()

    async def stop(self, within_s: float) -> None:
        """Take no more calls, and wait for those that are being answered, but no longer than so."""
        self._health.is_ending = True
        await self._server.stop(within_s)

    def service(self, call: Any) -> Any:
        """Return what answers a call; None where there is no such method."""
        handler = self._handlers.get(call.method)
        if handler is not None and self._authorization and call.method not in self._open:
            given = next((value for name, value in call.invocation_metadata if name == "authorization"), "")
            text = given if isinstance(given, bytes) else given.encode(errors="replace")
            if not hmac.compare_digest(text, self._authorization):
                self._desk.counters.answered(401, monotonic_ns())
                return self._refused
        return handler

    def _described(self) -> list[Protos]:
        """Return the messages of all services; the typed one is left out while nothing answers."""
        return [self._protos, *([self._typed.messages().protos] if self._desk.answering else [])]

    def _handler(self, method: Method) -> Any:
        if method.one:
            one = method.one

            async def answer(given: bytes, context: Context) -> bytes:
                started = monotonic_ns()
                try:
                    told = await one(given, context)
                except Exception as error:
                    await self._refuse(error, context, started)
                    raise
                # Counted before the client has the answer, so that whoever reads the counters finds it there.
                self._desk.counters.answered(200, started)
                return told

            return grpc.unary_unary_rpc_method_handler(answer)
        several = method.many or method.stream
        assert several is not None

        async def answers(given: Any, context: Context) -> AsyncIterator[bytes]:
            started = monotonic_ns()
            try:
                async for told in several(given, context):
                    yield told
            except Exception as error:
                await self._refuse(error, context, started)
                raise
            self._desk.counters.answered(200, started)

        return (grpc.unary_stream_rpc_method_handler if method.many else grpc.stream_stream_rpc_method_handler)(answers)

    async def _refuse(self, error: Exception, context: Context, started: int) -> None:
        """End a call with the status of an error."""
        if not isinstance(error, RequestError):  # whatever went wrong here is ours, and the client still gets an answer
            error_id = new_id("error")
            LOG.error("%s: a call over gRPC", error_id, exc_info=error)
            message = f"the server failed on this call; its log has more under {error_id}"
            error = RequestError(status=500, message=message, error_id=error_id)
        self._desk.counters.answered(error.status, started)
        await context.abort(code_of(error), message_of(error), trailers_of(error))


async def _unauthenticated(given: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    message = "the token is missing or wrong: send the metadata `authorization: Bearer TOKEN`"
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)
    yield b""

"""The gRPC server of a worker: on the loop that HTTP is answered on, so that rows of both stand in the same batches."""

from __future__ import annotations

import hmac
import logging
from importlib.resources import files
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from drivetrain.errors import RequestError
from drivetrain.serving.grpc.health import Health
from drivetrain.serving.grpc.inference import Inference
from drivetrain.serving.grpc.method import limited
from drivetrain.serving.grpc.proto import Protos
from drivetrain.serving.grpc.reflection import Reflection
from drivetrain.serving.grpc.shared import Shared
from drivetrain.serving.grpc.status import code_of, message_of, trailers_of
from drivetrain.serving.grpc.typed import Typed
from drivetrain.store.record import new_id
from drivetrain.training.trace import PARENT, STATE, follow, of_trace, trace_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from drivetrain.serving.desk import Desk
    from drivetrain.serving.grpc.method import Context, Method

LOG = logging.getLogger("drivetrain.serving")
# Counts a call that was answered: its status in HTTP's numbers, and `monotonic_ns` of its arrival.
Count: TypeAlias = "Callable[[int, int], None]"
_FILES = ("open_inference.proto", "health.proto", "reflection_v1.proto", "reflection_v1alpha.proto")


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC has no types
    """Answers calls to a service in this process, or to several.

    All workers listen on the same port, and the kernel deals out connections.
    """

    def __init__(self, desks: Sequence[Desk], address: str, *, token: str = "") -> None:
        self._desks, self._address = desks, address
        self._authorization = f"Bearer {token}".encode() if token else b""
        self._protos = Protos({name: (files(__package__) / name).read_text("utf-8") for name in _FILES})
        self._typed = [Typed(desk) for desk in desks]
        own = {typed.name: [typed.desk] for typed in self._typed}
        self._health = Health(self._protos, {**dict.fromkeys(self._protos.services(), desks), **own})
        methods = self._shared_methods() + self._typed_methods()
        self._open = {path for path, method, _ in methods if method.is_open}
        self._counts = {path: count for path, _, count in methods}
        self._handlers = {path: self._handler(method, count) for path, method, count in methods}
        self._refused = grpc.stream_stream_rpc_method_handler(_unauthenticated)

    def _shared_methods(self) -> list[tuple[str, Method, Count]]:
        """Return what is not of one service alone, and where it is counted; of several, each counts what is its own."""
        inferences = [Inference(desk, self._protos) for desk in self._desks]
        is_one = len(inferences) == 1
        count = self._desks[0].counters.answered if is_one else _uncounted
        inference = inferences[0] if is_one else Shared(inferences)
        services = (inference, self._health, Reflection(self._protos, self._described))
        return [(path, each, count) for service in services for path, each in service.methods().items()]

    def _typed_methods(self) -> list[tuple[str, Method, Count]]:
        most = self._largest()
        found: list[tuple[str, Method, Count]] = []
        for typed in self._typed:
            limit, count = typed.desk.service.max_body_bytes, typed.desk.counters.answered
            for path, each in typed.methods().items():
                found.append((path, each if limit == most else limited(each, limit), count))
        return found

    def _largest(self) -> int:
        """Return how many bytes a message may have for the service that takes the most."""
        return max(desk.service.max_body_bytes for desk in self._desks)

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: the address cannot be listened on.
        """
        options = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._largest()),
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
                self._counts[call.method](401, monotonic_ns())
                return self._refused
        # Each call is a task of its own, of which this is the beginning; here its metadata are at hand without a copy.
        metadata = call.invocation_metadata
        if parents := [value for name, value in metadata if name == PARENT]:
            follow(parents, [value for name, value in metadata if name == STATE])
        return handler

    def _described(self) -> list[Protos]:
        """Return the messages of all services; a typed one is left out while nothing answers."""
        return [self._protos, *(typed.messages().protos for typed in self._typed if typed.desk.answering)]

    def _handler(self, method: Method, count: Count) -> Any:
        if method.one:
            one = method.one

            async def answer(given: bytes, context: Context) -> bytes:
                started = monotonic_ns()
                try:
                    told = await one(given, context)
                except Exception as error:
                    await self._refuse(error, context, count, started)
                    raise
                # Counted before the client has the answer, so that whoever reads the counters finds it there.
                count(200, started)
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
                await self._refuse(error, context, count, started)
                raise
            count(200, started)

        return (grpc.unary_stream_rpc_method_handler if method.many else grpc.stream_stream_rpc_method_handler)(answers)

    async def _refuse(self, error: Exception, context: Context, count: Count, started: int) -> None:
        """End a call with the status of an error."""
        if not isinstance(error, RequestError):  # whatever went wrong here is ours, and the client still gets an answer
            error_id = new_id("error")
            LOG.error("%s: a call over gRPC%s", error_id, of_trace(trace_now()), exc_info=error)
            message = f"the server failed on this call; its log has more under {error_id}"
            error = RequestError(status=500, message=message, error_id=error_id)
        count(error.status, started)
        await context.abort(code_of(error), message_of(error), trailers_of(error))


def _uncounted(status: int, started_ns: int) -> None:
    """Count nothing: what is asked of no service in particular."""


async def _unauthenticated(given: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    message = "the token is missing or wrong: send the metadata `authorization: Bearer TOKEN`"
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)
    yield b""

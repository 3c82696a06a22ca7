"""The Open Inference Protocol over gRPC for several services: a call goes to the one whose model it names."""

from __future__ import annotations

from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from drivetrain.errors import RequestError
from drivetrain.serving.front.directory import Directory
from drivetrain.serving.grpc.inference import AT_ONCE, SERVICE
from drivetrain.serving.grpc.method import Context, Method, check_size, read
from drivetrain.serving.grpc.ordered import in_order
from drivetrain.serving.grpc.proto import Protos

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from drivetrain.serving.grpc.inference import Inference

# All requests that name a model do so in their first field; the third is the id of one that asks it something.
_NAMING = Protos(
    {"naming.proto": 'syntax = "proto3"; package naming; message Naming { string model = 1; string id = 3; }'}
)
_BY_NAME = tuple(f"{SERVICE}{name}" for name in ("ModelReady", "ModelMetadata", "ModelInfer", "ModelConfig"))


class Shared:
    """Answers for all services of a server, and counts for each what it was asked."""

    def __init__(self, inferences: Sequence[Inference]) -> None:
        self._all = inferences
        self._directory = Directory([(each.desk.service, each) for each in inferences])
        self._methods = {each: each.methods() for each in inferences}

    def methods(self) -> dict[str, Method]:
        """Return what it answers."""
        # What the server tells of itself is the same for each.
        return self._all[0].methods() | {
            f"{SERVICE}ServerReady": Method(one=self.server_ready, is_open=True),
            f"{SERVICE}ModelStatistics": Method(one=self.statistics),
            f"{SERVICE}RepositoryIndex": Method(one=self.index),
            f"{SERVICE}ModelStreamInfer": Method(stream=self.infer_stream),
            **{path: Method(one=partial(self.passed, path)) for path in _BY_NAME},
        }

    async def server_ready(self, given: bytes, context: Context) -> bytes:
        """Tell whether each service has a version to answer with."""
        waiting = [each for each in self._all if each.desk.answering is None]
        return await (waiting or self._all)[0].server_ready(given, context)

    async def statistics(self, given: bytes, context: Context) -> bytes:
        """Tell what all workers have answered: of one model, or of all that answer now."""
        if _naming(given).model:
            return await self.passed(f"{SERVICE}ModelStatistics", given, context)
        ready = [each for each in self._all if each.desk.answering is not None]
        return b"".join([await each.statistics(given, context) for each in ready])

    async def index(self, given: bytes, context: Context) -> bytes:
        """List the versions that answer."""
        # Messages of one kind, one behind the other, are one message with all that is repeated in them.
        return b"".join([await each.index(given, context) for each in self._all])

    async def passed(self, path: str, given: bytes, context: Context) -> bytes:
        """Return what the service answers whose model is named."""
        started = monotonic_ns()
        inference = self._directory.find(_naming(given).model)
        count = inference.desk.counters.answered
        try:
            check_size(given, inference.desk.service.max_body_bytes)
            one = self._methods[inference][path].one
            assert one is not None
            told = await one(given, context)
        except Exception as error:
            count(error.status if isinstance(error, RequestError) else 500, started)
            raise
        count(200, started)
        return told

    async def infer_stream(self, given: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answer each request of a stream by the service whose model it names, in order."""
        started = monotonic_ns()
        asked: dict[Inference, None] = {}

        async def answered(message: bytes) -> bytes:
            naming = _naming(message)
            try:
                inference = self._directory.find(naming.model)
                check_size(message, inference.desk.service.max_body_bytes)
            except RequestError as error:
                return self._all[0].refused(error, naming.id)
            asked[inference] = None
            return await inference.answered(context, message)

        try:
            async for answer in in_order(given, answered, at_once=AT_ONCE):
                yield answer
        except Exception as error:
            for each in asked:
                each.desk.counters.answered(error.status if isinstance(error, RequestError) else 500, started)
            raise
        for each in asked:
            each.desk.counters.answered(200, started)


def _naming(given: bytes) -> Any:
    return read(_NAMING, "naming.Naming", given)

"""The health service of gRPC, that load balancers and Kubernetes ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drivetrain.errors import RequestError
from drivetrain.serving.grpc.method import Context, Method, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from drivetrain.serving.desk import Desk
    from drivetrain.serving.grpc.proto import Protos

_PATH = "/grpc.health.v1.Health/"
_REQUEST, _RESPONSE, _LIST = (
    f"grpc.health.v1.Health{name}" for name in ("CheckRequest", "CheckResponse", "ListResponse")
)
_SERVING, _NOT_SERVING, _UNKNOWN = 1, 2, 3
_EVERY_S = 0.25


class Health:
    """Tells whether there are versions to answer with; a server that is about to end is no longer serving.

    `services` has the desks that each service of gRPC needs, by its full name; the server itself needs all.
    """

    def __init__(self, protos: Protos, services: Mapping[str, Sequence[Desk]]) -> None:
        self._protos = protos
        self._services = {"": [desk for desks in services.values() for desk in desks]} | dict(services)
        self.is_ending = False

    def methods(self) -> dict[str, Method]:
        """Return what it answers."""
        return {
            f"{_PATH}Check": Method(one=self.check, is_open=True),
            f"{_PATH}List": Method(one=self.listed, is_open=True),
            f"{_PATH}Watch": Method(many=self.watch, is_open=True),
        }

    async def check(self, given: bytes, context: Context) -> bytes:
        """Tell the state of one service."""
        name = read(self._protos, _REQUEST, given).service
        status = self._status(name)
        if status == _UNKNOWN:
            raise RequestError(status=404, message=f"there is no service {name[:100]!r} here")
        return self._told(status)

    async def listed(self, given: bytes, context: Context) -> bytes:
        """Tell the state of all services."""
        statuses = {name: {"status": self._status(name)} for name in self._services}
        return bytes(self._protos.message(_LIST)(statuses=statuses).SerializeToString())

    async def watch(self, given: bytes, context: Context) -> AsyncIterator[bytes]:
        """Tell the state of one service, now and whenever it changes."""
        name = read(self._protos, _REQUEST, given).service
        before = None
        while True:
            status = self._status(name)
            if status != before:
                yield self._told(status)
            if self.is_ending:
                return
            before = status
            await asyncio.sleep(_EVERY_S)

    def _status(self, name: str) -> int:
        if name not in self._services:
            return _UNKNOWN
        are_ready = all(desk.answering is not None for desk in self._services[name])
        return _SERVING if are_ready and not self.is_ending else _NOT_SERVING

    def _told(self, status: int) -> bytes:
        return bytes(self._protos.message(_RESPONSE)(status=status).SerializeToString())

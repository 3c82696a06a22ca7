"""A worker process of a server: what its application begins with and ends with, whatever it answers for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from drivetrain.serving.calls.exchange import Exchange
from drivetrain.serving.desk import Desk
from drivetrain.serving.entrance import Entrance
from drivetrain.store.store import Store

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from drivetrain.serving.config import Config
    from drivetrain.serving.grpc.server import GrpcServer
    from drivetrain.serving.service import Terms


class Worker(Entrance):
    """Answers requests to services from this process, also over gRPC where the configuration has a port for it.

    A subclass answers HTTP: it opens with the desks of an exchange, and closes.
    """

    _grpc: GrpcServer | None = None

    def __init__(self, services: Sequence[Terms], config: Config) -> None:
        most = max(each.max_body_bytes for each in services)
        super().__init__(token=config.token, hosts=config.hosts, max_body_bytes=most)
        self.config = config
        self._timeout_s = max(each.timeout_s for each in services)

    def open(self, exchange: Exchange) -> list[Desk]:
        """Begin to answer, with what an exchange has loaded, and return at which desks."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of all but the exchange, which is closed afterwards."""
        raise NotImplementedError

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        config = self.config
        store = Store.open(Path(config.store), allow_pickle=config.allow_pickle)
        self._exchange = Exchange(partial(Desk, loop, store=store, grpc_port=config.grpc_port), config.addresses)
        desks = self.open(self._exchange)
        if config.grpc_port:
            from drivetrain.serving.grpc.server import GrpcServer

            self._grpc = GrpcServer(desks, config.grpc_address, token=config.token)
            loop.run_until_complete(self._grpc.start())

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._grpc is not None:
            loop.run_until_complete(self._grpc.stop(self._timeout_s))
        self.close()
        loop.run_until_complete(self._exchange.close())

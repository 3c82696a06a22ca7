"""Servers that answer gRPC, and the rows that tests send over it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.serving.world import ROW, Server, free_port, register, served

from drivetrain.registry.bundle import pack
from drivetrain.serving.grpc.proto import Protos
from drivetrain.system.load import load_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drivetrain.registry.version import Version
    from drivetrain.store.store import Store

PREDICTOR = "drivetrain.answers.Predictor"


class GrpcServed:
    """A server in processes of its own, and where it answers gRPC."""

    def __init__(self, server: Server, port: int) -> None:
        self.server, self.address = server, f"127.0.0.1:{port}"
        # A channel of its own for each test server: gRPC otherwise shares connections by address.
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])

    def call(self, path: str, message: bytes, **options: Any) -> bytes:
        """Return the answer to bytes, whatever they hold."""
        given = self.channel.unary_unary(path)(message, timeout=options.pop("timeout", 20), **options)
        assert isinstance(given, bytes)
        return given

    def typed(self) -> TypedClient:
        return TypedClient(self)


class TypedClient:
    """Calls the typed service with the messages of the text that the server gives now."""

    def __init__(self, served: GrpcServed) -> None:
        self._served = served
        self.protos = Protos({"service.proto": served.server.client.get("/service.proto").text})

    def message(self, name: str, **values: Any) -> Any:
        return self.protos.message(f"drivetrain.answers.{name}")(**values)

    def call(self, method: str, message: Any, answer: str, **options: Any) -> Any:
        given = self._served.call(f"/{PREDICTOR}/{method}", message.SerializeToString(), **options)
        return self.protos.message(f"drivetrain.answers.{answer}").FromString(given)

    def row(self, **changed: Any) -> Any:
        values = {name: value for name, value in {**ROW, **changed}.items() if value is not ...}
        return self.message("Row", **values)

    def predict(self, **changed: Any) -> Any:
        return self.call("Predict", self.row(**changed), "Prediction")

    def stream(self, rows: list[Any]) -> list[Any]:
        answer = self.protos.message("drivetrain.answers.Answer")
        call = self._served.channel.stream_stream(f"/{PREDICTOR}/PredictStream")
        return [answer.FromString(each) for each in call(iter(row.SerializeToString() for row in rows), timeout=20)]


@contextmanager
def over_grpc(store: Store, *, workers: int = 1, ready: bool = True, **settings: str) -> Iterator[GrpcServed]:
    """Start a server that answers gRPC too, and end it with the block."""
    port = free_port()
    with served(store, workers=workers, ready=ready, GRPC_PORT=str(port), **settings) as server:
        running = GrpcServed(server, port)
        yield running
        running.channel.close()


def refused(call: Any, *arguments: Any, **options: Any) -> grpc.Call:
    """Return the error that a call ends in."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    error: grpc.Call = caught.value
    return error


SLOW = """
import time
import polars as pl
import drivetrain as dt

@dt.dataset(key="ticket", time="asked_at", label="is_late")
def tickets() -> pl.LazyFrame: ...

@dt.features
def asked(tickets: pl.LazyFrame) -> pl.LazyFrame:
    time.sleep(0.15)
    found = tickets.collect()
    if (found["distance"] < 0).any():
        raise ValueError("a negative distance")
    return found.lazy().select("ticket", "distance", "stops", "wind")
"""


def register_slow(store: Store, folder: Path, number: int = 1) -> Version:
    """Register a version that takes 0.15 s for a batch, and fails on a negative distance."""
    path = folder / "slow_tickets.py"
    path.write_text(SLOW)
    return register(store, number, code=pack(load_system(path), folder, store), features="asked", dataset="tickets")

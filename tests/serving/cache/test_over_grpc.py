"""What is known over HTTP is known over gRPC, and the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("grpc", reason="needs grpcio")
pytest.importorskip("google.protobuf", reason="needs protobuf")

from tests.serving.grpc.calls import PREDICTOR, GrpcServed, over_grpc
from tests.serving.world import ROW, logged, promote, register

if TYPE_CHECKING:
    from drivetrain.store.store import Store


def asked(running: GrpcServed, distance: float, *metadata: tuple[str, str]) -> str:
    """Return what a call is told of known answers."""
    row = running.typed().row(distance=distance).SerializeToString()
    method = running.channel.unary_unary(f"/{PREDICTOR}/Predict")
    _, call = method.with_call(row, timeout=20, metadata=metadata)
    told: str = dict(call.trailing_metadata())["cache-status"]
    return told.partition("; ttl=")[0]


def test_the_typed_service_shares_what_is_known(store: Store) -> None:
    promote(store, register(store, 1))
    with over_grpc(store, CACHE="5m") as running:
        first = asked(running, 1.0)
        over_http = running.server.predict({**ROW, "distance": 1.0}).headers["cache-status"]
        running.server.predict({**ROW, "distance": 2.0})
        seen = [asked(running, 2.0), asked(running, 2.0, ("cache-control", "no-cache"))]
        stream = running.typed().stream([running.typed().row(distance=each) for each in (1.0, 2.0, 3.0)])
        metrics = running.server.client.get("/metrics").text

    assert first == "drivetrain; fwd=miss"
    assert over_http.startswith("drivetrain; hit")
    assert seen == ["drivetrain; hit", "drivetrain; fwd=request"]
    assert len(stream) == 3
    assert 'cache_hits_total{service="answers"} 4\n' in metrics
    assert logged(store).height == 8

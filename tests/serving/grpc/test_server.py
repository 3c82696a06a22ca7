"""The life of the gRPC server: beside HTTP, in the same batches, with tokens, deadlines, and workers that die."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
from tests.project import Project
from tests.serving.grpc.calls import PREDICTOR, GrpcServed, over_grpc, refused, register_slow
from tests.serving.world import ROW, free_port, promote, register, wait_until

from drivetrain.errors import UsageError
from drivetrain.serving.server import check_grpc

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.store.store import Store

HEALTH = "/grpc.health.v1.Health"


def health_of(running: GrpcServed, service: str = "") -> int:
    health = pytest.importorskip("grpc_health.v1.health_pb2", reason="grpcio-health-checking is not installed")
    request = health.HealthCheckRequest(service=service).SerializeToString()
    status: int = health.HealthCheckResponse.FromString(running.call(f"{HEALTH}/Check", request)).status
    return status


def test_health_is_told_of_each_service(running: GrpcServed) -> None:
    for service in ("", PREDICTOR, "inference.GRPCInferenceService"):
        assert health_of(running, service) == 1
    error = refused(health_of, running, "other")
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_readiness_tells_the_port(running: GrpcServed) -> None:
    assert running.server.client.get("/readyz").json()["grpc_port"] == int(running.address.rpartition(":")[2])


def test_health_is_watched_from_before_the_first_version_until_the_end(store: Store) -> None:
    stubs = pytest.importorskip("grpc_health.v1.health_pb2_grpc", reason="grpcio-health-checking is not installed")
    from grpc_health.v1 import health_pb2

    seen: list[int] = []
    with over_grpc(store, ready=False) as running:
        watching = stubs.HealthStub(running.channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        reader = threading.Thread(target=lambda: seen.extend(each.status for each in watching))
        reader.start()
        assert refused(running.call, f"/{PREDICTOR}/Predict", b"").code() is grpc.StatusCode.UNAVAILABLE

        promote(store, register(store, 1))
        wait_until(lambda: health_of(running) == 1)
        time.sleep(0.6)
        assert running.server.stop() == 0
        reader.join(timeout=20)

    assert seen == [2, 1, 2]


def test_rows_of_both_protocols_share_a_batch_and_one_that_fails_or_leaves_harms_no_other(
    store: Store, tmp_path: Path
) -> None:
    promote(store, register_slow(store, tmp_path))
    with over_grpc(store) as running, ThreadPoolExecutor(8) as pool:
        typed = running.typed()
        first = pool.submit(running.server.predict, ROW)
        time.sleep(0.05)  # the version is at work; what comes now is the next batch

        over_http = [pool.submit(running.server.predict, {**ROW, "distance": each}) for each in (10.0, 250.0)]
        over_rpc = [pool.submit(typed.predict, distance=each) for each in (10.0, 250.0)]
        failing = pool.submit(refused, typed.predict, distance=-1.0)
        leaving = pool.submit(refused, typed.call, "Predict", typed.row(), "Prediction", timeout=0.05)

        assert first.result().status_code == 200
        answers = [each.result().json() for each in over_http]
        same = [each.result() for each in over_rpc]
        assert [each.prediction for each in same] == pytest.approx([each["prediction"] for each in answers])
        assert failing.result().code() is grpc.StatusCode.INTERNAL
        assert leaving.result().code() is grpc.StatusCode.DEADLINE_EXCEEDED

        folder = store.root / "serving" / "answers"
        lines = [
            msgspec.json.decode(line) for path in folder.glob("pred*.jsonl") for line in path.read_bytes().splitlines()
        ]
    asked = {each["id"] for each in answers} | {each.id for each in same}
    # The batch failed as a whole and was then answered request by request, in the one moment of its names.
    assert len({name[:14] for name in asked}) == 1
    assert asked <= {name for line in lines for name in line["ids"]}


def test_one_batch_has_rows_of_both_protocols(store: Store, tmp_path: Path) -> None:
    promote(store, register_slow(store, tmp_path))
    with over_grpc(store) as running, ThreadPoolExecutor(8) as pool:
        typed = running.typed()
        before = running.server.client.get("/metrics").text
        first = pool.submit(running.server.predict, ROW)
        time.sleep(0.05)

        waiting = [pool.submit(running.server.predict, ROW), pool.submit(typed.predict), pool.submit(typed.predict)]
        for each in (first, *waiting):
            each.result()

        after = running.server.client.get("/metrics").text

    assert _counted(after, "batches_total") - _counted(before, "batches_total") == 2


def _counted(text: str, name: str) -> float:
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"drivetrain_{name}"))


def test_a_token_is_asked_of_all_but_the_probes(store: Store) -> None:
    promote(store, register(store, 1))
    with over_grpc(store, TOKEN="secret") as running:
        right, wrong = (("authorization", "Bearer secret"),), (("authorization", "Bearer wrong"),)
        live = "/inference.GRPCInferenceService/ServerMetadata"

        assert health_of(running) == 1
        assert running.call("/inference.GRPCInferenceService/ServerReady", b"")
        assert running.call(live, b"", metadata=right)
        for metadata in (None, wrong):
            for path in (live, f"/{PREDICTOR}/Predict", f"/{PREDICTOR}/Feedback"):
                error = refused(running.call, path, b"", metadata=metadata)
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        stream = running.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        error = refused(list, stream(iter([b""]), metadata=wrong, timeout=20))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_killed_worker_leaves_the_others_answering_and_is_replaced(store: Store) -> None:
    promote(store, register(store, 1))
    with over_grpc(store, workers=2) as running:
        before = running.server.pids()
        typed = running.typed()
        # A service configuration as clients of gRPC have one: what is UNAVAILABLE is tried again.
        retries = {
            "methodConfig": [
                {
                    "name": [{}],
                    "retryPolicy": {
                        "maxAttempts": 5,
                        "initialBackoff": "0.1s",
                        "maxBackoff": "1s",
                        "backoffMultiplier": 2,
                        "retryableStatusCodes": ["UNAVAILABLE"],
                    },
                }
            ]
        }
        told = msgspec.json.encode(retries).decode()
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", told)]
        channels = [grpc.insecure_channel(running.address, options=options) for _ in range(8)]
        calls = [channel.unary_unary(f"/{PREDICTOR}/Predict") for channel in channels]
        message = typed.row().SerializeToString()
        for call in calls:
            call(message, timeout=20)

        os.kill(before[0], signal.SIGKILL)
        for _ in range(20):
            for call in calls:
                call(message, timeout=20)
        wait_until(lambda: len(set(running.server.pids()) - set(before)) == 1, 20)
        for channel in channels:
            channel.close()


def test_a_port_that_is_taken_is_found_out(running: GrpcServed) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        check_grpc("127.0.0.1", int(running.address.rpartition(":")[2]), http_port=0)
    with pytest.raises(UsageError, match="HTTP has it"):
        check_grpc("127.0.0.1", 8000, http_port=8000)
    check_grpc("127.0.0.1", 0, http_port=8000)


@pytest.mark.slow
def test_the_command_answers_both(project: Project) -> None:
    project.command("init")
    project.command("run")
    http, port = free_port(), free_port()
    process = project.start("serve", "--port", str(http), "--grpc-port", str(port))
    try:
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        ready: Any = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
        assert ready(b"", wait_for_ready=True, timeout=40) == b"\x08\x01"
        channel.close()
    finally:
        process.terminate()
        process.wait(timeout=20)

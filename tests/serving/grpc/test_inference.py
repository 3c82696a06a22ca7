"""The Open Inference Protocol over gRPC, asked by Triton's own client with its defaults."""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.serving.world import ROW, logged, promote, register, try_out, wait_until

pytest.importorskip("grpc", reason="grpcio is not installed")
triton = pytest.importorskip("tritonclient.grpc", reason="tritonclient[grpc] is not installed")

from tests.serving.grpc.calls import GrpcServed, over_grpc
from tritonclient.utils import InferenceServerException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.store.store import Store

KINDS = {
    "ticket": "BYTES",
    "asked_at": "BYTES",
    "distance": "FP64",
    "stops": "INT32",
    "is_new": "BOOL",
    "city": "BYTES",
    "day": "BYTES",
    "wind": "FP64",
}
NUMPY: dict[str, Any] = {"BYTES": np.object_, "FP64": np.float64, "INT32": np.int32, "BOOL": np.bool_}


def inputs(rows: int = 1, module: Any = triton, **changed: Any) -> list[Any]:
    """Return rows as the client's tensors."""
    found = []
    for name, kind in KINDS.items():
        value = {**ROW, **changed}[name]
        tensor = module.InferInput(name, [rows], kind)
        tensor.set_data_from_numpy(np.array([value] * rows, NUMPY[kind]))
        found.append(tensor)
    return found


@pytest.fixture(scope="module")
def client(running: GrpcServed) -> Iterator[Any]:
    with triton.InferenceServerClient(running.address) as client:
        yield client


def test_the_server_and_the_model_are_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("late")
    assert client.is_model_ready("late", "1")
    assert not client.is_model_ready("late", "7")


def test_what_is_told_of_the_server_and_the_model_fits_what_is_asked(client: Any) -> None:
    metadata = client.get_model_metadata("late")
    config = client.get_model_config("late").config

    assert client.get_server_metadata().name == "drivetrain"
    assert list(metadata.versions) == ["1"]
    assert {each.name: each.datatype for each in metadata.inputs} == KINDS
    assert [each.name for each in metadata.outputs] == ["prediction", "id", "version"]
    assert [each.name for each in config.input if each.optional] == ["ticket", "wind"]
    assert config.output[0].data_type == 12  # TYPE_FP64


def test_a_row_is_answered_as_over_http_and_logged(client: Any, running: GrpcServed) -> None:
    result = client.infer("late", inputs(), request_id="mine")

    (name,) = result.as_numpy("id")
    assert result.get_response().id == "mine"
    assert result.get_response().model_version == "1"
    assert result.as_numpy("prediction")[0] == pytest.approx(running.server.predict(ROW).json()["prediction"])
    assert result.as_numpy("version")[0] == b"late@1"
    log = logged(running.server.store)
    assert name.decode() in log["id"].to_list()


def test_a_trace_in_the_metadata_of_a_call_stands_in_the_log(client: Any, running: GrpcServed) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    valid, wrong = f"00-{trace}-00f067aa0ba902b7-01", f"ff-{trace}-00f067aa0ba902b7-01"

    names = [
        client.infer("late", inputs(), headers=headers).as_numpy("id")[0].decode()
        for headers in ({"traceparent": valid}, {"traceparent": wrong}, None)
    ]

    log = logged(running.server.store)
    found = dict(zip(log["id"], log["trace"], strict=True))
    assert [found[name] for name in names] == [trace, None, None]


def test_many_rows_are_answered_in_their_order(client: Any) -> None:
    tensors = inputs(rows=300)
    distances = np.linspace(10, 250, 300)
    tensors[2].set_data_from_numpy(distances)

    result = client.infer("late", tensors, outputs=[triton.InferRequestedOutput("prediction")])

    seen = result.as_numpy("prediction")
    assert result.as_numpy("id") is None
    assert seen.shape == (300,)
    assert seen[0] < 0.5 < seen[-1]


@pytest.mark.parametrize("options", [{"sequence_id": 5}, {"outputs": [triton.InferRequestedOutput("id", 3)]}])
def test_what_would_be_silently_wrong_is_refused(client: Any, options: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("late", inputs(), **options)

    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_are_answered(client: Any, algorithm: str) -> None:
    result = client.infer("late", inputs(rows=50), compression_algorithm=algorithm)

    assert result.as_numpy("prediction").shape == (50,)


def test_the_client_that_calls_back_is_answered(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()

    client.async_infer("late", inputs(), callback=lambda result, error: answers.put((result, error)))

    result, error = answers.get(timeout=20)
    assert error is None
    assert result.as_numpy("prediction").shape == (1,)


def test_the_asyncio_client_is_answered(running: GrpcServed) -> None:
    import tritonclient.grpc.aio as triton_aio

    async def ask() -> list[Any]:
        async with triton_aio.InferenceServerClient(running.address) as client:
            assert await client.is_model_ready("late")
            return await asyncio.gather(*[client.infer("late", inputs(module=triton_aio)) for _ in range(20)])

    results = asyncio.run(ask())

    assert len({result.as_numpy("id")[0] for result in results}) == 20


def test_a_stream_is_answered_in_order_and_goes_on_behind_what_is_refused(running: GrpcServed) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    wrong = inputs()
    wrong[2] = triton.InferInput("distance", [1], "BYTES")
    wrong[2].set_data_from_numpy(np.array(["far"], np.object_))

    with triton.InferenceServerClient(running.address) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for number in range(6):
            client.async_stream_infer("late", wrong if number == 3 else inputs(), request_id=str(number))
        found = [answers.get(timeout=20) for _ in range(6)]
        client.stop_stream()

    assert [result.get_response().id for result, error in found if error is None] == ["0", "1", "2", "4", "5"]
    (error,) = [error for _, error in found if error is not None]
    assert "rows[0].distance" in str(error)
    assert '"far"' in str(error)


def test_a_stream_tells_its_last_answer_where_that_is_asked_for(running: GrpcServed) -> None:
    answers: queue.Queue[Any] = queue.Queue()

    with triton.InferenceServerClient(running.address) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        client.async_stream_infer("late", inputs(), enable_empty_final_response=True)
        result, error = answers.get(timeout=20)
        client.stop_stream()

    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param


def test_statistics_count_rows_and_batches(client: Any, running: GrpcServed) -> None:
    before = client.get_inference_statistics("late").model_stats[0]

    client.infer("late", inputs(rows=40))

    after = client.get_inference_statistics("late").model_stats[0]
    assert after.inference_count == before.inference_count + 40
    assert after.execution_count == before.execution_count + 1
    assert 'drivetrain_requests_total{service="answers",status="2xx"}' in running.server.client.get("/metrics").text


def test_the_repository_lists_what_answers(client: Any) -> None:
    (found,) = client.get_model_repository_index().models

    assert (found.name, found.version, found.state) == ("late", "1", "READY")


def test_what_only_triton_can_do_is_told_as_unimplemented(client: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.load_model("late")

    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_a_canary_answers_its_share_and_each_row_tells_its_version(store: Store) -> None:
    first, second = register(store, 1), register(store, 2)
    promote(store, first)
    try_out(store, first, second, 0.5)
    with over_grpc(store) as running, triton.InferenceServerClient(running.address) as client:
        tensors = inputs(rows=200)
        tensors[0].set_data_from_numpy(np.array([f"t-{number}" for number in range(200)], np.object_))

        result = client.infer("late", tensors)

        versions = result.as_numpy("version").tolist()
        assert 60 < versions.count(b"late@2") < 140
        assert result.get_response().model_version == "1,2"
        named = client.infer("late", tensors, model_version="1")
        assert set(named.as_numpy("version").tolist()) == {b"late@1"}
        with pytest.raises(InferenceServerException) as caught:
            client.infer("late", tensors, model_version="2")
        assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"
        assert sorted(client.get_model_metadata("late").versions) == ["1", "2"]

        promote(store, second)
        wait_until(lambda: list(client.get_model_metadata("late").versions) == ["2"])
        assert set(client.infer("late", tensors).as_numpy("version").tolist()) == {b"late@2"}


@pytest.mark.slow
def test_kserve_answers_are_read_by_its_own_client(running: GrpcServed) -> None:
    from benchmarks.measure import environment

    python = environment("kserve-client", ["kserve==0.21.0"]) / "python"
    script = Path(__file__).parents[1] / "clients" / "kserve_grpc_client.py"

    done = subprocess.run([str(python), str(script), running.address], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-2000:]
    prediction = running.server.predict({**ROW, "wind": None}).json()["prediction"]
    told = json.loads(done.stdout.splitlines()[-1])
    answers = dict.fromkeys(("typed", "contents", "raw"), [prediction] * 2)
    assert told == {"ready": True, "live": True, "model": True, **answers}

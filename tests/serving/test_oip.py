"""The Open Inference Protocol as its own clients speak it: Triton's, and KServe's in an environment of its own."""

from __future__ import annotations

import subprocess
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from tests.serving.world import MODEL, ROW, Server, logged, promote, register, served, try_out, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.store.store import Store

triton = pytest.importorskip("tritonclient.http", reason='needs "tritonclient[http]"')

KINDS = {"asked_at": "BYTES", "distance": "FP64", "stops": "INT32", "is_new": "BOOL", "city": "BYTES", "day": "BYTES"}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as made:
        yield made


def columns(rows: int, *, binary: bool = True, **changed: Any) -> list[Any]:
    """Return the row so many times, as Triton's client writes its inputs."""
    made = []
    for name, datatype in KINDS.items():
        value = changed.get(name, ROW[name])
        values = np.array([value.encode() if isinstance(value, str) else value] * rows, object)
        values = values if datatype == "BYTES" else values.astype({"FP64": "f8", "INT32": "i4", "BOOL": "?"}[datatype])
        made.append(triton.InferInput(name, [rows], datatype))
        made[-1].set_data_from_numpy(values, binary_data=binary)
    return made


def body(**changed: Any) -> dict[str, Any]:
    """Return a request of one row as JSON."""
    inputs = [{"name": name, "datatype": kind, "shape": [1], "data": [ROW[name]]} for name, kind in KINDS.items()]
    return {"inputs": inputs, **changed}


def test_the_server_and_the_model_tell_who_they_are(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert [client.is_model_ready(*each) for each in ((MODEL,), (MODEL, "1"), (MODEL, "2"), ("x",))] == [1, 1, 0, 0]
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    seen = client.get_model_metadata(MODEL)
    assert (seen["name"], seen["versions"]) == (MODEL, ["1"])
    assert {each["name"]: each["datatype"] for each in seen["inputs"]}.items() >= KINDS.items()
    config = client.get_model_config(MODEL)
    assert [each["name"] for each in config["output"]] == ["prediction", "id", "version"]
    assert client.get_model_repository_index() == [{"name": MODEL, "version": "1", "state": "READY", "reason": ""}]


def test_statistics_count_rows(client: Any) -> None:
    before = client.get_inference_statistics(MODEL)["model_stats"][0]["inference_count"]

    client.infer(MODEL, columns(3))

    assert client.get_inference_statistics()["model_stats"][0]["inference_count"] == before + 3


def test_a_model_is_not_loaded_by_clients(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="drivetrain promote late@NUMBER"):
        client.load_model(MODEL)


@pytest.mark.parametrize(
    ("binary", "compression", "rows"), list(product([True, False], [None, "gzip", "deflate"], [1, 2, 400]))
)
def test_every_form_of_triton_gives_the_same_answer(
    server: Server, client: Any, binary: bool, compression: str | None, rows: int
) -> None:
    seen = client.infer(
        MODEL,
        columns(rows, binary=binary),
        request_id="seven",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )

    assert seen.as_numpy("prediction").tolist() == [server.predict({**ROW, "wind": None}).json()["prediction"]] * rows
    assert len(set(seen.as_numpy("id").tolist())) == rows
    assert seen.as_numpy("version").tolist() == [f"{MODEL}@1".encode()] * rows
    assert {name: seen.get_response()[name] for name in ("id", "model_name", "model_version")} == {
        "id": "seven",
        "model_name": MODEL,
        "model_version": "1",
    }


def test_outputs_can_be_chosen_each_in_its_form(client: Any) -> None:
    outputs = [triton.InferRequestedOutput("version", binary_data=False), triton.InferRequestedOutput("prediction")]

    seen = client.infer(MODEL, columns(2), outputs=outputs)

    assert [each["name"] for each in seen.get_response()["outputs"]] == ["version", "prediction"]
    assert seen.get_response()["outputs"][0]["data"] == [f"{MODEL}@1"] * 2
    assert seen.get_response()["outputs"][1]["parameters"] == {"binary_data_size": 16}


def test_many_requests_can_be_under_way_at_once(client: Any) -> None:
    waiting = [client.async_infer(MODEL, columns(2, distance=float(10 * number))) for number in range(20)]

    seen = [each.get_result().as_numpy("prediction") for each in waiting]

    assert len({each.tobytes() for each in seen}) > 1
    assert all(each.shape == (2,) for each in seen)


def test_what_is_asked_in_tensors_is_logged_like_everything(server: Server, client: Any) -> None:
    told = client.infer(MODEL, columns(1, city="Bergen")).as_numpy("id")[0].decode()

    found = logged(server.store).filter(id=told).row(0, named=True)

    assert (found["request"]["city"], found["features"]["distance"]) == ("Bergen", 120.5)


def test_what_does_not_fit_is_told_in_one_text(server: Server, client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="distance of row 0 is a number out of range") as caught:
        client.infer(MODEL, columns(1, distance=float("inf")))
    assert caught.value.status() == "422"
    with pytest.raises(triton.InferenceServerException, match="day is nothing, and should be a date"):
        client.infer(MODEL, columns(1)[:-1])
    with pytest.raises(triton.InferenceServerException, match="did you mean prediction"):
        client.infer(MODEL, columns(1), outputs=[triton.InferRequestedOutput("predictions")])


def test_a_request_may_name_the_version(store: Store) -> None:
    champion, challenger = register(store, 1), register(store, 2)
    promote(store, champion)
    try_out(store, champion, challenger, 0.5)
    with served(store) as server, triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        wait_until(lambda: "canary" in server.client.get("/readyz").json()["versions"])

        alone = client.infer(MODEL, columns(60), model_version="1")
        both = client.infer(MODEL, columns(60))
        with pytest.raises(triton.InferenceServerException, match="being tried on a share"):
            client.infer(MODEL, columns(1), model_version="2")

        assert alone.get_response()["model_version"] == "1"
        assert set(alone.as_numpy("version").tolist()) == {b"late@1"}
        assert both.get_response()["model_version"] == "1,2"
        assert set(both.as_numpy("version").tolist()) == {b"late@1", b"late@2"}
        assert {each["version"] for each in client.get_model_repository_index()} == {"1", "2"}


def test_before_the_first_version_nothing_is_ready(store: Store) -> None:
    with served(store, ready=False) as server, triton.InferenceServerClient(server.url.removeprefix("http://")) as made:
        assert (made.is_server_live(), made.is_server_ready(), made.is_model_ready(MODEL)) == (True, False, False)
        assert made.get_model_repository_index() == []
        with pytest.raises(triton.InferenceServerException, match="has no champion yet"):
            made.infer(MODEL, columns(1))


def test_columns_as_pandas_codecs_write_them_are_read(server: Server) -> None:
    asked = body(parameters={"content_type": "pd"})
    for each in asked["inputs"]:
        each["shape"] = [1, 1]
        each["parameters"] = {"content_type": "str"} if each["datatype"] == "BYTES" else {}

    seen = server.client.post(f"/v2/models/{MODEL}/infer", json=asked).json()

    assert seen["outputs"][0]["shape"] == [1]


@pytest.mark.slow
def test_kserve_answers_are_read_by_its_own_client(server: Server) -> None:
    from benchmarks.measure import environment

    python = environment("kserve-client", ["kserve==0.21.0"]) / "python"
    script = Path(__file__).parent / "clients" / "kserve_client.py"

    done = subprocess.run([str(python), str(script), server.url], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-2000:]
    told = msgspec.json.decode(done.stdout.splitlines()[-1])
    prediction = server.predict({**ROW, "wind": None}).json()["prediction"]
    assert told == {
        "ready": True,
        "live": True,
        "json": [prediction] * 2,
        "binary": [prediction] * 2,
        "v1": [prediction],
    }

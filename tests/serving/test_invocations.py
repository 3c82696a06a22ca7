"""Rows as MLflow, SageMaker, TensorFlow Serving and KServe V1 are sent them; MLflow's own client in its environment."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.serving.world import MODEL, ROW, Server, logged, promote, register, rows, served, try_out, wait_until

from drivetrain.data.schema import Column
from drivetrain.errors import RequestError
from drivetrain.serving.invocations import FORMS, FORMS_V1, read
from drivetrain.serving.requests import Reader
from drivetrain.store.store import Store

NAMES = ["asked_at", "distance", "stops", "is_new", "city", "day"]
VALUES = [ROW[name] for name in NAMES]
PLAIN = dict(zip(NAMES, VALUES, strict=True))
# As json.dumps of MLflow's client writes them: the split of a frame with its index, and NaN for what is missing.
SPLIT = (
    b'{"dataframe_split": {"index": [0, 1], '
    b'"columns": ["asked_at", "distance", "stops", "is_new", "city", "day", "wind"],'
    b' "data": [["2026-01-31T09:30:00", 120.5, 2, true, "Oslo", "2026-01-31", NaN],'
    b' ["2026-01-31T09:30:00", 120.5, 2, true, "Oslo", "2026-01-31", NaN]]}}'
)
KINDS = {"asked_at": "BYTES", "distance": "FP64", "stops": "INT32", "is_new": "BOOL", "city": "BYTES", "day": "BYTES"}
NUMBERS = Reader(
    [
        Column(name="id", kind="str", dtype="String"),
        Column(name="a", kind="float", dtype="Float64"),
        Column(name="b", kind="int", dtype="Int32"),
    ],
    optional=frozenset({"id"}),
)


def asked(server: Server, body: Any, path: str = "/invocations") -> Any:
    return server.client.post(path, json=body)


@pytest.fixture(scope="module")
def expected(server: Server) -> float:
    found: float = server.predict({**ROW, "wind": None}).json()["prediction"]
    return found


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": NAMES, "data": [VALUES, VALUES]}},
        {"dataframe_split": {"index": [7, 8], "columns": NAMES, "data": [VALUES, VALUES]}, "params": {}},
        {"dataframe_records": [PLAIN, PLAIN]},
        {"dataframe_records": [{**PLAIN, "wind": None}, PLAIN]},
        {"instances": [PLAIN, PLAIN]},
        {"instances": [[*VALUES, None], [*VALUES, None]]},
        {"inputs": {name: [value, value] for name, value in PLAIN.items()}},
        {"inputs": {name: [[value], [value]] for name, value in PLAIN.items()}},
        {"inputs": [PLAIN, PLAIN]},
        {"inputs": [VALUES, VALUES]},
        {"inputs": [["t-1", *VALUES, None], ["t-2", *VALUES, None]]},
    ],
)
def test_every_form_of_mlflow_is_answered(server: Server, expected: float, body: Any) -> None:
    seen = asked(server, body)

    assert seen.status_code == 200, seen.text
    told = seen.json()
    assert told["predictions"] == [expected] * 2
    assert len(set(told["ids"])) == 2
    assert told["versions"] == [f"{MODEL}@1"] * 2


def test_the_body_of_mlflows_client_is_read_as_it_is(server: Server, expected: float) -> None:
    seen = server.client.post("/invocations", content=SPLIT, headers={"content-type": "application/json"})

    assert seen.json()["predictions"] == [expected] * 2
    found = logged(server.store).filter(id=seen.json()["ids"][0]).row(0, named=True)
    assert found["request"]["wind"] is None


def test_csv_is_answered_as_mlflow_answers_it(server: Server) -> None:
    frame = rows(5)
    body = frame.write_csv(datetime_format="%Y-%m-%d %H:%M:%S").encode()

    seen = server.client.post("/invocations", content=body, headers={"content-type": "text/csv; charset=utf-8"}).json()

    told = server.client.post(
        "/predict", content=frame.write_ndjson(), headers={"content-type": "application/x-ndjson"}
    )
    assert seen["predictions"] == [msgspec.json.decode(line)["prediction"] for line in told.content.splitlines()]


def test_the_server_is_pinged(server: Server) -> None:
    assert [server.client.get(path).status_code for path in ("/ping", "/health", "/version")] == [200] * 3


@pytest.mark.parametrize(
    "given", [{"instances": [PLAIN]}, {"inputs": {name: [value] for name, value in PLAIN.items()}}]
)
def test_the_form_of_tensorflow_serving_is_answered(server: Server, expected: float, given: Any) -> None:
    assert asked(server, given, f"/v1/models/{MODEL}:predict").json()["predictions"] == [expected]
    assert server.client.get("/v1/models").json() == {"models": [MODEL]}
    assert server.client.get(f"/v1/models/{MODEL}").json() == {"name": MODEL, "ready": True}
    assert asked(server, given, "/v1/models/other:predict").status_code == 404


def test_a_path_of_tensorflow_serving_may_name_the_version(server: Server, expected: float) -> None:
    given = {"instances": [PLAIN]}

    assert asked(server, given, f"/v1/models/{MODEL}/versions/1:predict").json()["predictions"] == [expected]
    refused = asked(server, given, f"/v1/models/{MODEL}/versions/2:predict")
    assert (refused.status_code, refused.json()) == (
        404, {"error": "version '2' of late does not answer here, but 1 does"}
    )  # fmt: skip
    assert asked(server, given, "/v1/models/other/versions/1:predict").status_code == 404


def test_a_version_that_is_named_is_the_only_one_that_answers(store: Store) -> None:
    champion, challenger = register(store, 1), register(store, 2)
    promote(store, champion)
    try_out(store, champion, challenger, 0.5)
    given = {"instances": [PLAIN] * 60}
    with served(store) as server:
        wait_until(lambda: "canary" in server.client.get("/readyz").json()["versions"])

        alone = asked(server, given, f"/v1/models/{MODEL}/versions/1:predict").json()
        both = asked(server, given, f"/v1/models/{MODEL}:predict").json()
        refused = asked(server, given, f"/v1/models/{MODEL}/versions/2:predict")

    assert set(alone["versions"]) == {champion.id}
    assert set(both["versions"]) == {champion.id, challenger.id}
    assert refused.status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ([], 400, "exactly one of dataframe_split, dataframe_records, instances, inputs, not an array"),
        ({"rows": [PLAIN]}, 400, "not rows"),
        ({"instances": [PLAIN], "inputs": [PLAIN]}, 400, "exactly one of"),
        ({"instances": [{**PLAIN, "citi": 1}]}, 422, "citi of row 0 is an unknown field: did you mean"),
        ({"instances": [PLAIN, {**PLAIN, "stops": 1.5}]}, 422, "stops of row 1 is 1.5"),
        ({"instances": [PLAIN, 5]}, 422, "something of row 1 is 5, and should be an object"),
        ({"instances": [[1, 2]]}, 422, "2 values without names"),
        ({"inputs": {**{name: [1] for name in NAMES}, "day": [1, 2]}}, 422, "day is 2 values, and should be 1"),
        ({"dataframe_split": {"columns": NAMES, "data": [VALUES[1:]]}}, 422, "should be an array of 6 values"),
        ({"dataframe_split": {"columns": [*NAMES, "day"], "data": []}}, 422, "day is two columns"),
        ({"dataframe_split": []}, 400, "dataframe_split takes"),
        ({"dataframe_records": [{**PLAIN, "city": None}] * 600}, 413, "600 rows; at most 500"),
    ],
)
def test_what_does_not_fit_is_told_as_mlflow_tells_it(server: Server, body: Any, status: int, text: str) -> None:
    seen = asked(server, body)

    assert seen.status_code == status
    assert set(seen.json()) <= {"error_code", "message", "problems"}
    assert text in seen.json()["message"]


def test_rows_without_names_have_the_columns_of_the_signature() -> None:
    def rows_of(body: bytes) -> Any:
        return read(body, NUMBERS, FORMS, 10)

    assert rows_of(b'{"inputs": [[1.5, 2.0], [2, 3]]}') == [(None, 1.5, 2), (None, 2.0, 3)]
    assert rows_of(b'{"instances": [["x", 1.5, 2]]}') == [("x", 1.5, 2)]
    with pytest.raises(RequestError, match="does not fit"):
        rows_of(b'{"inputs": [1, 2]}')


def test_lists_are_the_values_of_an_only_tensor() -> None:
    only = Reader([Column(name="x", kind="tensor", dtype="float32", form={"shape": [2]})])

    bodies = (
        b'{"instances": [[1.5, 2.0], [2, 3]]}',
        b'{"inputs": [[1.5, 2.0], [2, 3]]}',
        b'{"instances": [[[1.5, 2.0]], [[2, 3]]]}',
    )
    for body in bodies:
        assert [value.tolist() for (value,) in read(body, only, FORMS_V1, 10)] == [[1.5, 2.0], [2.0, 3.0]]
    with pytest.raises(RequestError, match="does not fit") as caught:
        read(b'{"instances": [[1.5, 2.0], [2]]}', only, FORMS_V1, 10)
    assert (caught.value.problems[0]["row"], caught.value.problems[0]["field"]) == (1, "x")
    with pytest.raises(RequestError, match="at most 1"):
        read(b'{"instances": [[1.5, 2.0], [2, 3]]}', only, FORMS_V1, 1)


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/x-www-form-urlencoded"}])
def test_v1_and_v2_are_answered_as_their_examples_ask_without_a_type(
    server: Server, expected: float, headers: dict[str, str]
) -> None:
    tensors = [{"name": name, "datatype": kind, "shape": [1], "data": [PLAIN[name]]} for name, kind in KINDS.items()]
    asked = {
        f"/v1/models/{MODEL}:predict": msgspec.json.encode({"instances": [PLAIN]}),
        f"/v2/models/{MODEL}/infer": msgspec.json.encode({"inputs": tensors}),
    }

    for path, body in asked.items():
        seen = server.client.post(path, content=body, headers=headers)
        assert seen.status_code == 200, seen.text
        assert str(expected) in seen.text
        # A page of another site can send this without being asked for leave.
        page = server.client.post(path, content=body, headers={**headers, "origin": "http://elsewhere"})
        assert page.status_code == 415


@pytest.mark.slow
def test_mlflows_own_client_is_answered(server: Server, expected: float) -> None:
    from benchmarks.measure import environment

    python = environment("mlflow-client", ["mlflow>=3.10,<4"]) / "python"
    script = Path(__file__).parent / "clients" / "mlflow_client.py"
    host, port = server.url.removeprefix("http://").split(":")

    done = subprocess.run([str(python), str(script), host, port], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-2000:]
    told = msgspec.json.decode(done.stdout.splitlines()[-1])
    assert told.pop("version")
    assert told == dict.fromkeys(("frame", "times", "records", "params"), [expected] * 2)

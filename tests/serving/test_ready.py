"""Models that are ready: classes of the user's and ONNX files, with tensors, structures and texts in their requests."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.serving.project import Address, Project
from tests.serving.world import free_port, wait_until

from drivetrain.testing.lab import Lab

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = '''
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

import drivetrain as dt


class Item(msgspec.Struct):
    name: str
    size: int = 1


class Caption(msgspec.Struct):
    text: str
    score: float


@dt.predictor(files={"weights": "words"})
class Captions:
    def load(self, weights: Path, loud: bool = True) -> None:
        self.words = {path.stem: path.read_text() for path in sorted(weights.iterdir())}
        self.loud = loud

    def predict(
        self,
        text: list[str],
        items: list[list[Item]],
        x: list[Annotated[np.ndarray, dt.Tensor("float32", (None, 2))]],
    ) -> list[Caption]:
        assert all(each.dtype == np.float32 for each in x)
        return [
            Caption(self.words[one] + ("!" if self.loud else ""), float(many.sum()) + len(things))
            for one, things, many in zip(text, items, x, strict=True)
        ]


@dt.predictor
class Lengths:
    """One at a time, with a value that may be left out."""

    def predict(self, history: list[float], horizon: int = 2) -> list[float]:
        if history[0] < 0:
            raise RuntimeError("a secret of the model")
        return [history[-1]] * horizon if history[0] < 1e6 else [float("nan")]


graph = dt.onnx("graph.onnx")


@dt.evaluation
def quality(captions: Any, graph: Any) -> dict[str, float]:
    found = captions.predict(["a"], [[]], [np.ones((1, 2), "float32")])
    return {"score": found[0].score, "top": float(graph.predict(a=np.ones((2, 3)), b=np.zeros((2, 2)))["top"][0])}


gates = [
    dt.Gate(Captions, name="gate_captions", require=[quality.score >= 2]),
    dt.Gate(Lengths, name="gate_lengths"),
    dt.Gate(graph, name="gate_graph", require=[quality.top >= 1]),
]
captioning = dt.Service(Captions, max_batch=8)
forecasting = dt.Service(Lengths)
graphing = dt.Service(graph, canary=dt.Canary(share=0.5))
'''


def graph_bytes(*, scale: float = 1.0) -> bytes:
    """Return a graph with two inputs and two outputs: a @ w + b, and its largest number."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    made = helper.make_graph(
        [
            helper.make_node("MatMul", ["a", "w"], ["m"]),
            helper.make_node("Add", ["m", "b"], ["sum"]),
            helper.make_node("ReduceMax", ["sum"], ["top"], axes=[1], keepdims=0),
        ],
        "graph",
        [helper.make_tensor_value_info("a", kind, ["n", 3]), helper.make_tensor_value_info("b", kind, ["n", 2])],
        [helper.make_tensor_value_info("sum", kind, ["n", 2]), helper.make_tensor_value_info("top", kind, ["n"])],
        [helper.make_tensor("w", kind, [3, 2], scale * np.arange(6, dtype=np.float32))],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("ready"), SYSTEM, graph__onnx=graph_bytes())
    made.write("words/a.txt", "alpha")
    made.write("words/text.txt", "any")  # the word of the examples
    made.write("words/b.txt", "beta")
    made.run()
    return made


@pytest.fixture(scope="module")
def captions(project: Project) -> Iterator[Address]:
    with project.served("captioning") as address:
        yield address


@pytest.fixture(scope="module")
def graph(project: Project) -> Iterator[Address]:
    with project.served("graphing") as address:
        yield address


@pytest.fixture(scope="module")
def lengths(project: Project) -> Iterator[Address]:
    with project.served("forecasting") as address:
        yield address


CAPTION: dict[str, Any] = {"text": "a", "items": [{"name": "q"}], "x": [[1, 2], [3, 4]]}


def test_a_class_answers_with_a_structure(captions: Address) -> None:
    told = captions.predict(CAPTION)

    assert told["version"] == "captions@1"
    assert told["prediction"] == {"text": "alpha!", "score": 11.0}


def test_requests_of_a_class_are_answered_in_their_order_and_as_batches(captions: Address) -> None:
    bodies = [{**CAPTION, "x": [[number, 0]]} for number in range(20)]

    many = captions.predict(bodies)["predictions"]
    with ThreadPoolExecutor(8) as pool:
        alone = list(pool.map(captions.predict, bodies))

    scores = [number + 1.0 for number in range(20)]
    assert [each["prediction"]["score"] for each in many] == scores
    assert [each["prediction"]["score"] for each in alone] == scores


@pytest.mark.parametrize(
    ("field", "value", "found", "wanted"),
    [
        ("text", 3, "3", "a text"),
        ("items", [{"nam": "q"}], "object missing required field `name` at $[0]", "a value of list[system.Item]"),
        ("x", [[1, 2], [3]], "expected `array` of length >= 2 at $[1]", "an array of float32 with the shape (?, 2)"),
        ("x", [[1e39, 2]], "expected `float` <= 3.4028234663852886e+38 at $[0][0]", "float32"),
        ("x", 3, "3: expected `array`, got `int`", "an array of float32"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place(
    captions: Address, field: str, value: Any, found: str, wanted: str
) -> None:
    (problem,) = captions.refused({**CAPTION, field: value}, 422)["problems"]

    assert problem["field"] == field
    assert found in problem["found"].lower() or found in problem["found"]
    assert wanted in problem["wanted"]


def test_a_name_that_stands_twice_in_a_structure_is_refused(captions: Address) -> None:
    body = '{"text": "a", "items": [{"name": "q", "name": "r"}], "x": []}'

    told = captions.client.post("/predict", content=body, headers={"content-type": "application/json"})

    assert told.status_code == 422
    assert "stands twice" in told.text


def test_a_description_can_be_sent_as_it_stands(captions: Address, graph: Address, lengths: Address) -> None:
    for address in (graph, lengths, captions):
        described = address.client.get("/openapi.json").json()
        example = described["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
        body = example["one row"]["value"]
        if address is captions:
            assert described["components"]["schemas"]["Item"]["properties"]["name"] == {"type": "string"}
            assert described["components"]["schemas"]["Prediction"]["properties"]["prediction"]["$ref"].endswith(
                "/Caption"
            )
            body["text"] = "b"
        assert address.predict(body)["id"]
        assert address.client.get("/docs").status_code == 200


def test_an_onnx_file_answers_with_each_output_by_name(graph: Address) -> None:
    told = graph.predict([{"a": [1, 2, 3], "b": [0, 1]}, {"a": [0, 0, 0], "b": [0, 1]}])["predictions"]

    assert [each["prediction"] for each in told] == [
        {"sum": [16.0, 23.0], "top": 23.0},
        {"sum": [0.0, 1.0], "top": 1.0},
    ]


@pytest.mark.parametrize("is_binary", [True, False])
def test_a_client_of_triton_sends_and_gets_tensors(graph: Address, captions: Address, is_binary: bool) -> None:
    triton = pytest.importorskip("tritonclient.http", reason='needs "tritonclient[http]"')

    def put(name: str, values: Any) -> Any:
        made = triton.InferInput(name, list(values.shape), "FP32" if values.dtype.kind == "f" else "BYTES")
        made.set_data_from_numpy(values, binary_data=is_binary)
        return made

    with triton.InferenceServerClient(graph.url.removeprefix("http://")) as client:
        told = client.get_model_metadata("graph")
        sent = [put("a", np.ones((4, 3), "float32")), put("b", np.zeros((4, 2), "float32"))]
        wanted = [triton.InferRequestedOutput(name, binary_data=is_binary) for name in ("sum", "top")]
        found = client.infer("graph", sent, outputs=wanted)
        with pytest.raises(triton.InferenceServerException, match="should be"):
            client.infer("graph", [put("a", np.ones((4, 4), "float32")), sent[1]])

    assert [(each["name"], each["datatype"], each["shape"]) for each in told["inputs"]] == [
        ("a", "FP32", [-1, 3]),
        ("b", "FP32", [-1, 2]),
    ]
    np.testing.assert_array_equal(found.as_numpy("sum"), [[6, 9]] * 4)
    np.testing.assert_array_equal(found.as_numpy("top"), [9] * 4)


def test_a_call_of_grpc_has_structures_and_tensors_as_json(project: Project) -> None:
    grpc = pytest.importorskip("grpc", reason="needs grpcio")
    from drivetrain.serving.grpc.proto import Protos

    port = free_port()
    with project.served("captioning", DRIVETRAIN_SERVE_GRPC_PORT=str(port)) as address:
        text = address.client.get("/service.proto").text
        protos = Protos({"service.proto": text})
        items, x = '[{"name": "q"}]', "[[1, 2]]"
        row = protos.message("drivetrain.captioning.Row")(text="b", items=items, x=x)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/drivetrain.captioning.Predictor/Predict")
            given = call(row.SerializeToString(), timeout=20)
        told = protos.message("drivetrain.captioning.Prediction").FromString(given)
        csv = address.client.post("/predict", json=[CAPTION], headers={"accept": "text/csv"})

    assert "string prediction = 8;" in text
    assert json.loads(told.prediction) == {"text": "beta!", "score": 4.0}
    assert csv.status_code == 200


def test_what_may_be_left_out_has_its_default(lengths: Address) -> None:
    assert lengths.predict({"history": [1, 2.5]})["prediction"] == [2.5, 2.5]
    assert lengths.predict({"history": [1, 2.5], "horizon": 3})["prediction"] == [2.5, 2.5, 2.5]


def test_people_are_told_what_a_class_says_about_itself_and_that_it_answers(project: Project, lengths: Address) -> None:
    said = "One at a time, with a value that may be left out. "
    assert f'<p class="soft">{said}Gives <code>prediction</code>.</p>' in lengths.client.get("/").text
    assert lengths.client.get("/openapi.json").json()["info"]["description"].startswith(said)

    lines = project.command("models").stdout.splitlines()
    found = {name: next(line for line in lines if line.startswith(name)) for name in ("lengths@1", "graph@1")}
    assert "its class" in found["lengths@1"]
    assert "onnx" in found["graph@1"]


def test_a_class_that_raises_or_gives_no_number_fails_alone_and_tells_no_secret(lengths: Address) -> None:
    assert "secret" not in str(lengths.refused({"history": [-1]}, 500))
    assert lengths.refused({"history": [1e7]}, 500)["error_id"]
    assert lengths.predict({"history": [4]})["prediction"] == [4, 4]


def test_the_log_has_what_was_asked_and_given(project: Project, captions: Address, graph: Address) -> None:
    one = captions.predict(CAPTION)
    big = captions.predict({**CAPTION, "x": [[1, 2]] * 5_000})
    other = graph.predict({"a": [1, 2, 3], "b": [0, 1]})

    rows = {row["id"]: row for row in project.logged("captioning").iter_rows(named=True)}
    assert rows[one["id"]]["prediction"] == '{"text":"alpha!","score":11.0}'
    assert rows[one["id"]]["request"]["x"] == "[[1.0,2.0],[3.0,4.0]]"
    assert '"digest":"sha256:' in rows[big["id"]]["request"]["x"]
    assert len(rows[big["id"]]["request"]["x"]) < 200
    found = project.logged("graphing").filter(id=other["id"]).row(0, named=True)
    assert found["prediction"] == '{"sum":[16.0,23.0],"top":23.0}'
    assert project.command("why", one["id"]).returncode == 0


def test_a_file_that_changes_is_tried_as_a_canary_and_promoted(project: Project, graph: Address) -> None:
    body = {"a": [1, 2, 3], "b": [0, 1]}
    project.write("graph.onnx", graph_bytes(scale=2.0))
    project.run()

    def versions() -> set[str]:
        return {each["version"] for each in graph.predict([body] * 40)["predictions"]}

    wait_until(lambda: versions() == {"graph@1", "graph@2"}, 20)
    models = project.command("models").stdout
    assert "graph@2" in models
    assert "captions@2" not in models
    told = {each["version"]: each["prediction"]["sum"] for each in graph.predict([body] * 40)["predictions"]}
    assert told == {"graph@1": [16.0, 23.0], "graph@2": [32.0, 45.0]}

    assert project.command("promote", "graph@2", "--reason", "a test").returncode == 0

    wait_until(lambda: versions() == {"graph@2"}, 20)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@dt.predictor\nclass A:\n    pass\n", "has no `predict`"),
        ("@dt.predictor\nclass A:\n    def predict(self, x) -> int: ...\n", "'x' of 'predict' has no annotation"),
        ("@dt.predictor\nclass A:\n    def predict(self, x: int): ...\n", "does not say what it returns"),
        ("@dt.predictor\nclass A:\n    def predict(self, x: np.ndarray) -> int: ...\n", "dt.Tensor"),
        ("@dt.predictor\nclass A:\n    def predict(self, x: complex) -> int: ...\n", "no request can hold that"),
        (
            '@dt.predictor(files={"w": "none.bin"})\nclass A:\n    def load(self, w): ...\n'
            "    def predict(self, x: int) -> int: ...\n",
            "there is no such file or folder",
        ),
        (
            '@dt.predictor(files={"wights": "system.py"})\nclass A:\n    def load(self, weights=1): ...\n'
            "    def predict(self, x: int) -> int: ...\n",
            "did you mean weights?",
        ),
        (
            "@dt.predictor\nclass A:\n    def load(self): raise OSError('no such device')\n"
            "    def predict(self, x: int) -> int: ...\n",
            "it cannot be loaded: OSError: no such device",
        ),
        ('a = dt.onnx("system.py")\n', "cannot be run as ONNX"),
        ('a = dt.torch("net.pth")\n', "is a pickle, which can run any code"),
    ],
)
def test_what_cannot_be_loaded_says_so_when_it_is_run(tmp_path: Any, source: str, said: str) -> None:
    broken = Project(tmp_path, f"import numpy as np\nimport drivetrain as dt\n\n{source}")

    done = broken.command("run")

    assert done.returncode != 0
    assert said in " ".join((done.stdout + done.stderr).split())


def test_a_lab_asks_predictors_of_each_kind() -> None:
    with Lab() as lab:
        result = lab.run(Path(__file__).parent / "lab_system.py")

        assert result.client("plain_service").predict([{"text": "a"}, {"text": "b"}])[1]["prediction"] == "B"
        assert result.client("later_service").predict({"number": 1})["prediction"] == 2
        assert result.client("counting_service").predict({"upto": 3})["prediction"] == [0, 1, 2]
        assert result.client("counting_later_service").predict({"upto": 2})["prediction"] == [0, 1]


def test_tensors_come_and_go_as_tensors(graph: Address) -> None:
    triton = pytest.importorskip("tritonclient.http", reason='needs "tritonclient[http]"')
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 2), np.float32)
    inputs = []
    for name, values in (("a", a), ("b", b)):
        inputs.append(triton.InferInput(name, list(values.shape), "FP32"))
        inputs[-1].set_data_from_numpy(values)

    with triton.InferenceServerClient(graph.url.removeprefix("http://")) as client:
        described = client.get_model_metadata("graph")
        seen = client.infer("graph", inputs)
        wrong = triton.InferInput("b", [2, 3], "FP32")
        wrong.set_data_from_numpy(a)
        with pytest.raises(triton.InferenceServerException, match=r"the shape \[2, 3\], and should be \[-1, 2\]"):
            client.infer("graph", [inputs[0], wrong])

    assert {each["name"]: each["shape"] for each in described["inputs"]} == {"a": [-1, 3], "b": [-1, 2]}
    asked = [{"a": one.tolist(), "b": other.tolist()} for one, other in zip(a, b, strict=True)]
    expected = [each["prediction"] for each in graph.predict(asked)["predictions"]]
    assert seen.as_numpy("sum").tolist() == [each["sum"] for each in expected]
    assert seen.as_numpy("top").tolist() == [each["top"] for each in expected]
    assert len(set(seen.as_numpy("id").tolist())) == 2


@pytest.mark.parametrize("service", ["captions", "graph", "lengths"])
def test_every_form_of_the_description_can_be_sent(service: str, request: pytest.FixtureRequest) -> None:
    address: Address = request.getfixturevalue(service)
    paths = address.client.get("/openapi.json").json()["paths"]
    sent = []

    for path, methods in paths.items():
        operation = methods.get("post")
        if operation is None or "requestBody" not in operation or path == "/feedback":
            continue
        for each in operation.get("parameters", []):
            path = path.replace(f"{{{each['name']}}}", each["schema"]["enum"][0])
        for name, example in operation["requestBody"]["content"]["application/json"]["examples"].items():
            body = json.dumps(example["value"])
            seen = address.client.post(path, content=body, headers={"content-type": "application/json"})
            assert seen.is_success, (path, name, body, seen.text)
            assert str(seen.status_code) in operation["responses"]
            sent.append(path)

    assert len(set(sent)) == 7


@pytest.mark.parametrize("service", ["captions", "graph", "lengths"])
def test_a_table_is_answered_or_refused_with_a_reason(service: str, request: pytest.FixtureRequest) -> None:
    address: Address = request.getfixturevalue(service)
    paths = address.client.get("/openapi.json").json()["paths"]
    content = paths["/predict"]["post"]["requestBody"]["content"]["application/x-ndjson"]
    body = content["examples"]["two rows"]["value"]

    told = {
        kind: address.client.post(
            "/predict", content=body, headers={"content-type": "application/x-ndjson", "accept": kind}
        )
        for kind in ("application/x-ndjson", "text/csv", "application/vnd.apache.parquet")
    }
    as_csv = address.client.post("/predict", content="a,b\n1,2\n", headers={"content-type": "text/csv"})

    assert {kind: each.status_code for kind, each in told.items()} == dict.fromkeys(told, 200)
    assert as_csv.status_code in (415, 422)

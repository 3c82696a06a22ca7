"""A class in place of a model of KServe or Triton: its clients go on with their own names and forms."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
over_http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
over_grpc = pytest.importorskip("tritonclient.grpc", reason="tritonclient[grpc] is not installed")

from tests.serving.project import Project
from tests.serving.world import free_port

from drivetrain.serving.grpc.proto import Protos

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = """
from typing import Annotated, TypedDict

import numpy as np

import drivetrain as dt

Answer = TypedDict("Answer", {"output-0": int, "share": float, "why": list[str]})


@dt.predictor
class SklearnIris:
    def predict(self, input: list[Annotated[np.ndarray, dt.Tensor("float64", (4,))]]) -> list[Answer]:
        return [{"output-0": int(each.sum()), "share": float(each.max()), "why": ["sum"]} for each in input]


@dt.predictor
class Halves:
    def predict(
        self, x: list[Annotated[np.ndarray, dt.Tensor("float16", (2,))]]
    ) -> list[Annotated[np.ndarray, dt.Tensor("float16", (2,))]]:
        return [each / 2 for each in x]


gates = [dt.Gate(SklearnIris, name="g1"), dt.Gate(Halves, name="g2")]
iris = dt.Service(SklearnIris)
halving = dt.Service(Halves)
"""
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


class Moved(NamedTuple):
    """A client of Triton for each protocol, and the channel for messages made by hand."""

    http: Any
    grpc: Any
    channel: Any


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    """Return the clients of a server that has taken over."""
    project = Project(tmp_path_factory.mktemp("moved"), SYSTEM)
    project.run()
    port = free_port()
    with (
        project.served("iris", "halving", DRIVETRAIN_SERVE_GRPC_PORT=str(port)) as address,
        over_http.InferenceServerClient(f"127.0.0.1:{address.port}") as http,
        over_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Moved(http, client, channel)


def asked(module: Any, rows: Any = ROWS, name: str = "input-0") -> Any:
    tensor = module.InferInput(name, list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    return tensor


def test_a_tensor_of_their_own_name_is_answered_by_outputs_of_their_own_names(moved: Moved) -> None:
    for module, client in ((over_http, moved.http), (over_grpc, moved.grpc)):
        found = client.infer("sklearn_iris", [asked(module)])
        (only,) = client.infer(
            "sklearn_iris", [asked(module)], outputs=[module.InferRequestedOutput("output-0")]
        ).get_response(**({"as_json": True} if module is over_grpc else {}))["outputs"]

        assert found.as_numpy("output-0").tolist() == [6, 22]
        assert found.as_numpy("output-0").dtype == np.int64
        assert found.as_numpy("share").tolist() == [3.0, 7.0]
        assert found.as_numpy("why").tolist() == [b'["sum"]'] * 2
        assert found.as_numpy("prediction") is None
        assert len(set(found.as_numpy("id").tolist())) == 2
        assert only["name"] == "output-0"


def test_the_outputs_are_those_that_are_told(moved: Moved) -> None:
    told = moved.http.get_model_metadata("sklearn_iris")["outputs"]

    kinds = {each["name"]: each["datatype"] for each in told}
    assert kinds == {"output-0": "INT64", "share": "FP64", "why": "BYTES", "id": "BYTES", "version": "BYTES"}
    assert kinds == {each.name: each.datatype for each in moved.grpc.get_model_metadata("sklearn_iris").outputs}


def test_a_tensor_of_another_shape_is_told_what_is_taken(moved: Moved) -> None:
    for module, client in ((over_http, moved.http), (over_grpc, moved.grpc)):
        with pytest.raises(Exception, match=r"input, \[rows, 4\]"):
            client.infer("sklearn_iris", [asked(module, ROWS[:, :3])])


@pytest.mark.parametrize("name", ["sklearn_iris", "sklearn-iris"])
def test_the_model_has_the_name_that_it_is_asked_for_by_over_both(moved: Moved, name: str) -> None:
    over_rest, over_call = moved.http.get_model_metadata(name), moved.grpc.get_model_metadata(name, as_json=True)
    config = moved.http.get_model_config(name)
    configured = moved.grpc.get_model_config(name, as_json=True)["config"]
    stats = moved.http.get_inference_statistics(name)["model_stats"][0]["name"]
    counted = moved.grpc.get_inference_statistics(name).model_stats[0].name

    assert [each[word] for each in (over_rest, over_call, config, configured) for word in ("name", "platform")] == [
        name,
        "drivetrain_custom",
    ] * 4
    assert [stats, counted] == [name] * 2
    for module, client in ((over_http, moved.http), (over_grpc, moved.grpc)):
        response = client.infer(name, [asked(module)]).get_response()
        assert (response["model_name"] if isinstance(response, dict) else response.model_name) == name


def inferred(channel: Any, model: str, name: str, datatype: str, shape: list[int], **given: Any) -> Any:
    """Return the answer to one tensor: to its `contents`, or to its `raw` bytes."""
    text = (files("drivetrain.serving.grpc") / "open_inference.proto").read_text("utf-8")
    protos = Protos({"open_inference.proto": text})
    message = protos.message("inference.ModelInferRequest")(model_name=model)
    message.inputs.add(name=name, datatype=datatype, shape=shape, **{k: v for k, v in given.items() if k == "contents"})
    message.raw_input_contents.extend(given.get("raw", []))
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    return protos.message("inference.ModelInferResponse").FromString(call(message.SerializeToString(), timeout=20))


def test_typed_contents_are_answered_with_typed_contents_and_raw_ones_with_raw(moved: Moved) -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    typed = inferred(moved.channel, "sklearn_iris", "x", "FP64", [1, 4], contents={"fp64_contents": values})
    raw = inferred(moved.channel, "sklearn_iris", "x", "FP64", [1, 4], raw=[np.array(values).tobytes()])

    found = {each.name: each.contents for each in typed.outputs}
    assert list(found["output-0"].int64_contents) == [10]
    assert list(found["share"].fp64_contents) == [4.0]
    assert list(found["why"].bytes_contents) == [b'["sum"]']
    assert not typed.raw_output_contents
    assert len(raw.raw_output_contents) == len(raw.outputs) == 5
    assert not any(each.HasField("contents") for each in raw.outputs)


def test_what_has_no_typed_field_is_answered_raw(moved: Moved) -> None:
    told = inferred(moved.channel, "halves", "x", "FP32", [1, 2], contents={"fp32_contents": [1.0, 3.0]})

    assert told.outputs[0].datatype == "FP16"
    assert np.frombuffer(told.raw_output_contents[0], np.float16).tolist() == [0.5, 1.5]

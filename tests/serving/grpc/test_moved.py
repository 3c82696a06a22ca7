"""A class in place of a model of KServe or Triton: its clients go on with their own names of tensors and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("grpc", reason="grpcio is not installed")
over_http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
over_grpc = pytest.importorskip("tritonclient.grpc", reason="tritonclient[grpc] is not installed")

from tests.serving.project import Project
from tests.serving.world import free_port

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


gate = dt.Gate(SklearnIris)
service = dt.Service(SklearnIris)
"""
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Any, Any]]]:
    """Return a client of each protocol, beside its module."""
    project = Project(tmp_path_factory.mktemp("moved"), SYSTEM)
    project.run()
    port = free_port()
    with (
        project.served(DRIVETRAIN_SERVE_GRPC_PORT=str(port)) as address,
        over_http.InferenceServerClient(f"127.0.0.1:{address.port}") as http,
        over_grpc.InferenceServerClient(f"127.0.0.1:{port}") as grpc,
    ):
        yield [(over_http, http), (over_grpc, grpc)]


def asked(module: Any, rows: Any = ROWS, name: str = "input-0") -> Any:
    tensor = module.InferInput(name, list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    return tensor


def test_a_tensor_of_their_own_name_is_answered_by_outputs_of_their_own_names(clients: list[tuple[Any, Any]]) -> None:
    for module, client in clients:
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


def test_the_outputs_are_those_that_are_told(clients: list[tuple[Any, Any]]) -> None:
    (_, http), (_, grpc) = clients
    told = http.get_model_metadata("sklearn_iris")["outputs"]

    kinds = {each["name"]: each["datatype"] for each in told}
    assert kinds == {"output-0": "INT64", "share": "FP64", "why": "BYTES", "id": "BYTES", "version": "BYTES"}
    assert kinds == {each.name: each.datatype for each in grpc.get_model_metadata("sklearn_iris").outputs}


def test_a_tensor_of_another_shape_is_told_what_is_taken(clients: list[tuple[Any, Any]]) -> None:
    for module, client in clients:
        with pytest.raises(Exception, match=r"input, \[rows, 4\]"):
            client.infer("sklearn_iris", [asked(module, ROWS[:, :3])])

from typing import Any

import numpy as np
import pytest
from tests.store.codecs.kept import again, kept

from drivetrain.errors import Unkeepable
from drivetrain.store.store import Store

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def doubling() -> Any:
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None])
    gives = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None])
    two = onnx.numpy_helper.from_array(np.array([2.0], dtype="float32"), "two")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Mul", ["x", "two"], ["y"])], "double", [given], [gives], [two]
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)


def test_a_model_comes_back(store: Store) -> None:
    model = doubling()

    assert again(store, model, onnx.ModelProto, format="onnx") == model


def test_a_model_is_read_as_a_session_where_that_is_wanted(store: Store) -> None:
    session = store.value(kept(store, doubling()), onnxruntime.InferenceSession)

    assert session.run(None, {"x": np.array([1.5], dtype="float32")})[0].tolist() == [3.0]


def test_a_session_cannot_be_written(store: Store) -> None:
    session = onnxruntime.InferenceSession(doubling().SerializeToString())

    with pytest.raises(Unkeepable, match="return the ModelProto itself"):
        store.keep(session, part="part")


def test_a_model_whose_weights_lie_elsewhere_is_refused(store: Store) -> None:
    model = doubling()
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL

    with pytest.raises(Unkeepable, match="other files"):
        store.keep(model, part="part")

"""Predictions by onnxruntime: the fast build of a version, where there is one that agrees with the original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drivetrain.registry.version import Signature
    from drivetrain.serving.requests import Row

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class OnnxModel:
    """A model in ONNX form that answers rows of feature values, in the signature's order.

    It takes either one tensor of all features or one input a feature, as exporters of both habits write it.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """

    def __init__(self, path: Path, signature: Signature) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra(library="onnxruntime", extra="onnx", purpose="a version with an ONNX build") from error
        options = onnxruntime.SessionOptions()
        # Each worker has one processor; threads of onnxruntime's own would only take turns with it.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._run = session.run
        inputs = session.get_inputs()
        names = [column.name for column in signature.features]
        self._whole = inputs[0].name if len(inputs) == 1 and len(names) != 1 else ""
        self._dtype = _DTYPES[inputs[0].type]
        if not self._whole:
            dtypes = {put.name: _DTYPES[put.type] for put in inputs}
            # An exporter may leave out a feature that the model does not use, or rename it by its position.
            self._inputs = [
                (name, place, dtypes[name]) for place, name in enumerate(names) if name in dtypes
            ] or [(put.name, place, _DTYPES[put.type]) for place, put in enumerate(inputs)]
        outputs = session.get_outputs()
        is_class = signature.task != "regression"
        chosen = next((out for out in outputs if "prob" in out.name), outputs[-1]) if is_class else outputs[0]
        self._outputs = [chosen.name]
        self._is_mapping = chosen.type.startswith("seq(map")
        self._classes = signature.classes

    def scores(self, rows: Sequence[Row]) -> np.ndarray[Any, Any]:
        """Return the probabilities (rows, classes) of a classifier, or the values (rows,) of a regression."""
        if self._whole:
            feed = {self._whole: np.array(rows, dtype=self._dtype)}  # (rows, features)
        else:
            columns = list(zip(*rows, strict=True))
            feed = {name: _column(columns[place], dtype) for name, place, dtype in self._inputs}
        (found,) = self._run(self._outputs, feed)
        if self._is_mapping:
            return np.array([[row[label] for label in self._classes] for row in found])
        return found if len(found.shape) == 2 and found.shape[1] > 1 else found.reshape(-1)


def _column(values: Sequence[Any], dtype: Any) -> np.ndarray[Any, Any]:
    """Return one input, (rows, 1)."""
    if dtype is np.object_:
        values = ["" if value is None else value for value in values]
    return np.array(values, dtype=dtype).reshape(-1, 1)

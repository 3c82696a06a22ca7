"""Predictions by onnxruntime: the fast build of a version, where there is one that agrees with the original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

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
        self._session, self._run, self._task = session, session.run, signature.task
        inputs = session.get_inputs()
        names = [column.name for column in signature.features]
        dtypes = {put.name: _DTYPES[put.type] for put in inputs}
        self._whole = inputs[0].name if len(inputs) == 1 and inputs[0].name not in names else ""
        # An exporter may leave out a feature that the model does not use, or rename them all by their position.
        known = [(name, place) for place, name in enumerate(names) if name in dtypes]
        self._inputs = [
            (name, place, dtypes[name]) for name, place in known or [(put.name, p) for p, put in enumerate(inputs)]
        ]
        self._dtype = next(iter(dtypes.values())) if len(set(dtypes.values())) == 1 else None
        outputs = session.get_outputs()
        chosen = outputs[0]
        if signature.task != "regression":
            chosen = next((put for put in outputs if "prob" in put.name), outputs[-1])
        self._outputs = [chosen.name]
        self._is_mapping = chosen.type.startswith("seq(map")

    def scores(self, rows: Sequence[Row]) -> NDArray[Any]:
        """Return the probabilities (rows, classes) of a classifier, or the values (rows,) of a regression."""
        if self._dtype not in (None, np.object_):
            table: NDArray[Any] = np.array(rows, dtype=self._dtype)  # (rows, features)
            if self._whole:
                feed = {self._whole: table}
            else:
                columns = np.ascontiguousarray(table.T)[:, :, None]  # (features, rows, 1)
                feed = {name: columns[place] for name, place, _ in self._inputs}
        else:
            values = list(zip(*rows, strict=True))
            feed = {name: _column(values[place], dtype) for name, place, dtype in self._inputs}
        (found,) = self._run(self._outputs, feed)
        if self._is_mapping:
            found = np.array([[row[label] for label in sorted(row)] for row in found])
        return _flat(found)

    def scores_of(self, frame: pl.DataFrame) -> NDArray[Any]:
        """Return the same for a frame of features."""
        from drivetrain.training.onnx import scores

        return _flat(np.asarray(scores(self._session, frame, self._task)))


def _flat(found: NDArray[Any]) -> NDArray[Any]:
    return found if found.ndim == 2 and found.shape[1] > 1 else found.reshape(-1)


def _column(values: Sequence[Any], dtype: Any) -> NDArray[Any]:
    """Return one input, (rows, 1)."""
    if dtype is np.object_:
        values = ["" if value is None else value for value in values]
    return np.array(values, dtype=dtype).reshape(-1, 1)

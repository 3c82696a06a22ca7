"""Predictions of models in ONNX form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from drivetrain.errors import MissingExtra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivetrain.training.signature import Task

# A difference that only the 32-bit arithmetic of ONNX explains; of numbers above 1, as a share of them.
TOLERANCE = 1e-5
_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def scores(model: Any, x: pl.DataFrame, task: Task) -> Any:
    """Return what a model in ONNX form answers; `model` is a ModelProto or a session of onnxruntime.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """
    session = model if hasattr(model, "get_inputs") else _session(model.SerializeToString())
    return _run(session, x, task)


def _session(data: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra(library="onnxruntime", extra="onnx", purpose="running an ONNX model") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _run(session: Any, x: pl.DataFrame, task: Task) -> Any:
    inputs = session.get_inputs()
    if len(inputs) == 1 and x.width != 1:
        feed: dict[str, Any] = {inputs[0].name: _table(x, inputs[0].type)}
    else:
        by_name = {column.name: column for column in inputs}
        if not by_name.keys() & set(x.columns):  # an exporter may have renamed them by their position
            by_name = dict(zip(x.columns, inputs, strict=True))
        feed = {put.name: _column(x[name], put.type) for name, put in by_name.items()}
    outputs = session.get_outputs()
    chosen = outputs[0]
    if task != "regression":
        chosen = next((output for output in outputs if "prob" in output.name), outputs[-1])
    (found,) = session.run([chosen.name], feed)
    if chosen.type.startswith("seq(map"):
        return np.array([[row[name] for name in sorted(row)] for row in found])
    return found


def _table(x: pl.DataFrame, kind: str) -> NDArray[Any]:
    """Return the one input of all features, (rows, features); a missing number is a NaN."""
    if kind == "tensor(float)" and all(dtype.is_numeric() or dtype == pl.Boolean for dtype in x.dtypes):
        return x.cast(pl.Float32).to_numpy(order="c")
    return x.to_numpy().astype(_DTYPES[kind])


def _column(series: pl.Series, kind: str) -> NDArray[Any]:
    """Return one input, (rows, 1); missing text is empty, a missing number a NaN."""
    if kind == "tensor(string)":
        return series.cast(pl.String).fill_null("").to_numpy().astype(object).reshape(-1, 1)
    return series.to_numpy().astype(_DTYPES[kind]).reshape(-1, 1)

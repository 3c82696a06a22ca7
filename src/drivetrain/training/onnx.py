"""ONNX: a fast build of a model, with the evidence that it answers the same; and predictions of models in that form."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from drivetrain.data.schema import Column
from drivetrain.errors import MissingExtra
from drivetrain.training.predict import predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivetrain.training.signature import Signature, Task

# A difference that only the 32-bit arithmetic of ONNX explains; of numbers above 1, as a share of them.
TOLERANCE = 1e-5
OPSET = 18
_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
# No real category is this.
_UNSEEN = "\N{REPLACEMENT CHARACTER}"


class FastBuild(msgspec.Struct, frozen=True, kw_only=True):
    """A model in ONNX form, and how its answers compare with the original's on real rows.

    `data` is empty where there is none, and `reason` says why. Only a build without differing rows may answer.
    """

    data: bytes = b""
    rows: int = 0
    differing_rows: int = 0
    largest_difference: float = 0.0
    reason: str = ""


def fast_build(model: Any, signature: Signature, sample: pl.DataFrame) -> FastBuild | None:
    """Return a scikit-learn model in ONNX form, compared with itself on a sample of real rows.

    Beside the sample, rows with a missing value and with an unseen category are compared, a column each. None for a
    model of another library. It never raises: where there is no build, `reason` says why.
    """
    if type(model).__module__.partition(".")[0] != "sklearn":
        return None
    try:
        data = _converted(model, signature)
    except ImportError as error:
        return FastBuild(reason=f"{error.name} is not installed")
    except Exception as error:  # the converter raises all kinds for a model or step that it does not know
        text = " ".join(str(error).split())
        return FastBuild(reason=f"skl2onnx cannot convert it: {text[:160]}")
    rows = _with_odd_rows(model, signature, sample)
    try:
        original = predictions(model, rows, signature)
        built = _shaped(_run(_session(data), rows, signature.task), signature.task)
    except Exception as error:  # a build that cannot run is as good as none
        text = " ".join(str(error).split())
        return FastBuild(reason=f"its ONNX form does not run: {text[:160]}")
    difference = np.abs(original - built) / np.maximum(1.0, np.abs(original))
    # A NaN on either side counts as a difference, unless it is on both.
    difference = np.where(np.isnan(original) & np.isnan(built), 0.0, np.nan_to_num(difference, nan=np.inf))
    by_row = difference.reshape(len(rows), -1).max(axis=1)  # (rows,)
    differing = int((by_row > TOLERANCE).sum())
    return FastBuild(
        data=data if not differing else b"",
        rows=len(rows),
        differing_rows=differing,
        largest_difference=float(min(by_row.max(), 1e300)) if len(rows) else 0.0,
        reason=f"{differing:,} of {len(rows):,} rows get another answer" if differing else "",
    )


def scores(model: Any, x: pl.DataFrame, task: Task) -> Any:
    """Return what a model in ONNX form answers; `model` is a ModelProto or a session of onnxruntime.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """
    session = model if hasattr(model, "get_inputs") else _session(model.SerializeToString())
    return _run(session, x, task)


def _converted(model: Any, signature: Signature) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    _mend_converters()
    whole = [("features", FloatTensorType([None, len(signature.features)]))]
    # One input a column, of the column's name: what chooses columns by name needs it, and what takes all refuses it.
    single = [
        (column.name, (StringTensorType if column.kind == "str" else FloatTensorType)([None, 1]))
        for column in signature.features
    ]
    has_names = hasattr(model, "feature_names_in_")
    chooses = has_names and (hasattr(model, "steps") or hasattr(model, "transformers"))
    options = {"zipmap": False} if signature.task != "regression" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = convert_sklearn(model, initial_types=single if chooses else whole, options=options, target_opset=OPSET)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


@cache
def _mend_converters() -> None:
    """Let skl2onnx convert gradient-boosted histograms: 1.20 hands booleans to protobuf 7, which wants integers."""
    from skl2onnx import update_registered_converter
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import get_converter, get_shape_calculator

    for kind, alias in list(sklearn_operator_name_map.items()):
        if not kind.__name__.startswith("HistGradientBoosting"):
            continue
        options = None
        if kind.__name__.endswith("Classifier"):
            options = {"zipmap": [True, False, "columns"], "raw_scores": [True, False], "nocl": [True, False]}
            options["output_class_labels"] = [False, True]
        update_registered_converter(
            kind,
            alias,
            get_shape_calculator(alias),
            _with_integers(get_converter(alias)),
            overwrite=True,
            options=options,
        )


def _with_integers(original: Any) -> Any:
    def convert(scope: Any, operator: Any, container: Any) -> Any:
        return original(scope, operator, _Integers(container))

    return convert


class _Integers:
    """The container of a conversion, into which booleans go as integers."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> Any:
        name = "nodes_missing_value_tracks_true"
        if name in attributes:
            attributes[name] = [int(value) for value in attributes[name]]
        return self._container.add_node(*arguments, **attributes)


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


def _shaped(found: Any, task: Task) -> NDArray[np.float64]:
    shaped = np.asarray(found, dtype=np.float64)
    return shaped if task == "multiclass" or shaped.ndim == 1 else shaped[:, -1]


def _with_odd_rows(model: Any, signature: Signature, sample: pl.DataFrame) -> pl.DataFrame:
    """Return the sample and, for each column, a row without it, and one with text that was never seen.

    An odd row that the original itself refuses is left out: no server will be asked to answer it.
    """
    rows = sample.select([column.name for column in signature.features])
    if rows.is_empty():
        return rows
    kept = [rows]
    for column in signature.features:
        for value in (None, _UNSEEN) if column.kind == "str" else (None,):
            if value is None and not column.nullable:
                continue
            odd = rows.head(1).with_columns(pl.lit(value, dtype=_text_or_own(column, rows)).alias(column.name))
            try:
                predictions(model, odd, signature)
            except Exception:  # noqa: S112  # whatever it raises, it refuses
                continue
            kept.append(odd)
    return pl.concat(kept, how="vertical_relaxed")


def _text_or_own(column: Column, rows: pl.DataFrame) -> Any:
    return pl.String if column.kind == "str" else rows[column.name].dtype

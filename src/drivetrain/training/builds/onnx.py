"""Models in ONNX form: estimators of scikit-learn, LightGBM and XGBoost brought into it, and how it is run."""

from __future__ import annotations

import sys
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from drivetrain.training.signature import Signature

_OPSETS = {"": 18, "ai.onnx.ml": 3}
_LIBRARIES = ("sklearn", "lightgbm", "xgboost")
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class OnnxForm:
    """An estimator with the interface of scikit-learn, alone or at the end of a pipeline, as an ONNX graph."""

    def takes(self, model: Any, signature: Signature) -> bool:
        return type(model).__module__.partition(".")[0] in _LIBRARIES and hasattr(model, "get_params")

    def written(self, model: Any, signature: Signature) -> bytes:
        return _converted(model, signature)

    def opened(self, path: Path, signature: Signature) -> OnnxBuild:
        return OnnxBuild(path, signature)


FORM = OnnxForm()


class OnnxBuild:
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

    def scores(self, rows: Sequence[tuple[Any, ...]]) -> NDArray[Any]:
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


def _converted(model: Any, signature: Signature) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    _mend_converters()
    for library in ("lightgbm", "xgboost"):
        if library in sys.modules:  # as it is where a model of it is at hand
            _know(library)
    whole = [("features", FloatTensorType([None, len(signature.features)]))]
    # One input a column, of the column's name: what chooses columns by name needs it, and what takes all refuses it.
    single = [
        (column.name, (StringTensorType if column.kind == "str" else FloatTensorType)([None, 1]))
        for column in signature.features
    ]
    has_names = hasattr(model, "feature_names_in_")
    chooses = has_names and (hasattr(model, "steps") or hasattr(model, "transformers"))
    # A scaler multiplies by the reciprocal unless it is told to divide, as scikit-learn does. The last bit decides on
    # which side a value falls that the model has made a threshold of.
    options: dict[Any, Any] = {
        kind: {"div": "div"} for kind in sklearn_operator_name_map if kind.__name__ == "StandardScaler"
    }
    if signature.task != "regression" and hasattr(model, "predict_proba"):
        options[id(model)] = {"zipmap": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = convert_sklearn(
            model, initial_types=single if chooses else whole, options=options, target_opset=_OPSETS
        )
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


@cache
def _know(library: str) -> None:
    """Let skl2onnx convert the estimators of another library, also inside a pipeline, as onnxmltools does."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    if library == "lightgbm":
        from onnxmltools.convert.lightgbm.operator_converters import LightGbm

        prefix, convert, of_regressor = "LGBM", LightGbm.convert_lightgbm, {"split": None}
    else:
        from onnxmltools.convert.xgboost.operator_converters import XGBoost

        prefix, convert, of_regressor = "XGB", XGBoost.convert_xgboost, {}
    of_classifier = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    for kind, shapes, options in (
        ("Classifier", calculate_linear_classifier_output_shapes, of_classifier),
        ("Regressor", calculate_linear_regressor_output_shapes, of_regressor),
    ):
        estimator = getattr(sys.modules[library], prefix + kind)
        update_registered_converter(estimator, library + kind, shapes, convert, options=options)

"""How any fitted model answers a frame of features: by what it can do, whatever library it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from drivetrain.data.schema import kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivetrain.training.signature import Signature, Task


def predictions(model: Any, frame: pl.DataFrame, signature: Signature) -> NDArray[np.float64]:
    """Return the model's answers to rows of features.

    The shape is (rows,) with the probability of `classes[1]` for binary, (rows, classes) with probabilities in the
    order of the classes for multiclass, and (rows,) with the value for regression.

    Raises:
        TypeError: the model has no way to predict that is known, or answers in another shape.
    """
    return answers(model, frame[[column.name for column in signature.features]], signature.task)


def answers(model: Any, x: pl.DataFrame, task: Task) -> NDArray[np.float64]:
    """Return what `predictions` does, of a frame that has just the features, in order."""
    found = np.asarray(_raw(model, x, task), dtype=np.float64)
    if task == "multiclass":
        if found.ndim != 2:
            raise TypeError(f"{_name(model)} answers {found.shape} for several classes, and not a probability for each")
        return found
    if found.ndim == 2:
        # A classifier tells both classes, the second one last; a network or a regression, one column.
        found = found[:, -1]
    if found.shape != (x.height,):
        raise TypeError(f"{_name(model)} answers {found.shape} for {x.height} rows")
    return found


def task_of(model: Any, label: pl.Series) -> tuple[Task, list[Any]]:
    """Return what kind of question a fitted model answers, and its classes, from the model or else from the label."""
    classes = getattr(model, "classes_", None)
    if hasattr(model, "predict_proba") and classes is not None:
        named = np.asarray(classes).tolist()
        return ("binary" if len(named) == 2 else "multiclass"), named
    objective = _objective(model)
    kind = kind_of(label.dtype)
    is_few = kind in ("bool", "str")
    if objective is None:
        # Without a word from the model: truth values and text are classes; 0 and 1 may be numbers just as well, so
        # only what has probabilities to tell is taken for a classifier.
        if not is_few and not hasattr(model, "predict_proba"):
            return "regression", []
    elif not objective.startswith(("binary", "multi", "cross_entropy", "reg:logistic", "softmax")):
        return "regression", []
    values = label.drop_nulls().unique().sort().to_list()
    return ("binary" if len(values) <= 2 else "multiclass"), values


def _objective(model: Any) -> str | None:
    """Return the objective that a booster was trained for."""
    if _comes_from(model, "lightgbm") and hasattr(model, "params"):
        text = model.params.get("objective") or model.dump_model(num_iteration=1).get("objective", "")
        return str(text).split(" ")[0]
    if _comes_from(model, "xgboost") and hasattr(model, "save_config"):
        import msgspec

        return str(msgspec.json.decode(model.save_config())["learner"]["objective"]["name"])
    return None


def _raw(model: Any, x: pl.DataFrame, task: Task) -> Any:
    if task != "regression" and hasattr(model, "predict_proba"):
        return model.predict_proba(_as_fitted(model, x))
    if _comes_from(model, "lightgbm"):
        return model.predict(x.to_numpy())
    if _comes_from(model, "xgboost") and hasattr(model, "save_config"):
        from drivetrain.training.xgboost import predict

        return predict(model, x)
    if _comes_from(model, "onnx") or _comes_from(model, "onnxruntime"):
        from drivetrain.training.onnx import scores

        return scores(model, x, task)
    if _comes_from(model, "torch"):
        from drivetrain.training.torch import predict as predict_by_torch

        return predict_by_torch(model, x, task)
    if hasattr(model, "predict"):
        return model.predict(_as_fitted(model, x))
    raise TypeError(
        f"{_name(model)} has neither predict_proba nor predict; return an estimator, a booster, an ONNX model or a "
        "torch module, or an object with `predict(frame)`"
    )


def _as_fitted(model: Any, x: pl.DataFrame) -> Any:
    """Return the frame, or an array for a model that was fitted on one and would warn of names it does not know."""
    if hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_"):
        return x.to_numpy()
    return x


def _comes_from(model: Any, library: str) -> bool:
    return any(base.__module__.partition(".")[0] == library for base in type(model).__mro__)


def _name(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"

"""How good live predictions are: the usual figures, and the loss of each row."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from drivetrain.training.metrics import binary_metrics, multiclass_metrics, regression_metrics

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from drivetrain.training.signature import Signature, Task

# What a canary is judged by, where it names no metric. Those of a probability reward being honest about it.
USUAL_LOSS: dict[Task, str] = {"binary": "brier", "multiclass": "log_loss", "regression": "mae", "values": ""}
# The figures that come first, as they are the first that a person looks at.
_FIRST: dict[Task, tuple[str, ...]] = {
    "binary": ("brier", "auc", "log_loss", "calibration_error"),
    "multiclass": ("log_loss", "accuracy", "macro_f1"),
    "regression": ("mae", "rmse", "bias"),
}
_SMALLEST = 2.0**-52


def truths(signature: Signature, labels: pl.Series) -> NDArray[np.float64]:
    """Return labels, given as JSON text, as numbers: (rows,); a class is its place, what the model does not know NaN.

    >>> import polars as pl
    >>> from drivetrain.data.schema import Roles
    >>> from drivetrain.training.signature import Signature
    >>> signature = Signature(
    ...     task="binary", label="late", classes=[False, True], request=[], features=[], roles=Roles()
    ... )
    >>> truths(signature, pl.Series(["true", "false", "7"])).tolist()
    [1.0, 0.0, nan]
    """
    texts = labels.to_list()
    if signature.judged_as == "regression":
        found = [msgspec.json.decode(text) for text in texts]
        return np.array([float(value) if isinstance(value, (int, float)) else np.nan for value in found])
    places = {msgspec.json.encode(name).decode(): float(place) for place, name in enumerate(signature.classes)}
    return np.array([places.get(text, np.nan) for text in texts], dtype=np.float64)


def known(signature: Signature, rows: pl.DataFrame) -> tuple[NDArray[np.float64], Any]:
    """Return the truth and the prediction of the rows that have both: (rows,) and (rows,) or (rows, classes).

    `rows` has the columns label, as JSON text or null, prediction and probabilities.
    """
    if signature.judged_as == "values":
        return np.array([]), np.array([])
    labelled = rows.filter(rows["label"].is_not_null())
    truth = truths(signature, labelled["label"])
    is_known = np.isfinite(truth)
    if signature.judged_as == "multiclass":
        shares = np.array(labelled["probabilities"].to_list(), dtype=np.float64).reshape(len(truth), -1)
        return truth[is_known], shares[is_known]
    return truth[is_known], labelled["prediction"].to_numpy()[is_known]


def figures(signature: Signature, truth: NDArray[np.float64], predicted: Any) -> dict[str, float]:
    """Return the figures of a task by name, the most telling first; without rows, none."""
    if not len(truth):
        return {}
    if signature.judged_as == "binary":
        found: dict[str, Any] = dict(binary_metrics(truth, predicted))
    elif signature.judged_as == "multiclass":
        classes = list(range(predicted.shape[1]))
        found = dict(multiclass_metrics([int(place) for place in truth], predicted, classes))
    else:
        found = dict(regression_metrics(truth, predicted))
    first = _FIRST[signature.judged_as]
    ordered = [*first, *(name for name in found if name not in first)]
    return {name: float(found[name]) for name in ordered if name != "rows" and isfinite(found[name])}


def losses(signature: Signature, truth: NDArray[np.float64], predicted: Any, metric: str) -> NDArray[np.float64]:
    """Return what each row adds to a metric, less being better: (rows,).

    A metric that is no mean over rows, such as an AUC, is stood for by the usual one of the task.
    """
    name = loss_name(signature, metric)
    found: NDArray[np.float64]
    if name == "error_rate":
        chosen = predicted.argmax(axis=1) if signature.judged_as == "multiclass" else predicted >= 0.5
        found = (chosen != truth).astype(np.float64)
    elif name == "log_loss":
        is_many = signature.judged_as == "multiclass"
        told = predicted[np.arange(len(truth)), truth.astype(int)] if is_many else np.abs(predicted + truth - 1)
        found = -np.log(np.clip(told, _SMALLEST, 1.0))
    elif name == "mae":
        found = np.abs(predicted - truth)
    else:
        found = (predicted - truth) ** 2
    return found


def loss_name(signature: Signature, metric: str) -> str:
    """Return the name of the loss that a metric is judged by."""
    names: dict[str, dict[str, str]] = {
        "binary": {"brier": "brier", "log_loss": "log_loss", "accuracy": "error_rate"},
        "multiclass": {"log_loss": "log_loss", "accuracy": "error_rate"},
        "regression": {"mae": "mae", "rmse": "squared_error", "r2": "squared_error"},
    }
    return names.get(signature.judged_as, {}).get(metric, USUAL_LOSS[signature.judged_as])

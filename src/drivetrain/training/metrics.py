"""The figures of models: from a model and a table, or from labels and predictions alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from drivetrain.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from drivetrain.training.signature import Task

# The figures of which less is better.
LESS_IS_BETTER = frozenset({"log_loss", "brier", "calibration_error", "mae", "rmse", "mape"})
# A probability of 0 for what did happen would make the logarithm infinite; scikit-learn bounds it in the same way.
_SMALLEST = 2.0**-52


class Binary(TypedDict):
    """Figures of a model that answers a yes-or-no question with a probability.

    `precision`, `recall`, `f1` and `accuracy` hold at the threshold, the others do not depend on it. A figure that
    cannot be told, such as the AUC of rows of a single class, is a NaN, and null in JSON.
    """

    auc: float
    average_precision: float
    log_loss: float
    brier: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    base_rate: float
    mean_prediction: float
    calibration_error: float
    rows: int


class Multiclass(TypedDict):
    """Figures of a model that chooses among classes; the `macro` ones are means over the classes that occur."""

    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    log_loss: float
    rows: int


class Regression(TypedDict):
    """Figures of a model that tells a number.

    `bias` is the mean of prediction less truth. `mape` is the mean absolute error as a share of the truth, over the
    rows whose truth is not 0.
    """

    mae: float
    rmse: float
    r2: float
    mape: float
    bias: float
    mean_prediction: float
    rows: int


def names_of(task: Task | None = None) -> list[str]:
    """Return the names of a task's figures; without one, those of all tasks.

    >>> names_of("regression")
    ['mae', 'rmse', 'r2', 'mape', 'bias', 'mean_prediction']
    """
    kinds = {"binary": Binary, "multiclass": Multiclass, "regression": Regression}
    chosen = [kinds[task]] if task else list(kinds.values())
    return list(dict.fromkeys(name for kind in chosen for name in kind.__annotations__ if name != "rows"))


def binary(model: Any, frame: Any, threshold: float = 0.5) -> Binary:
    """Return the figures of a fitted model on a table, of polars, pandas or Arrow, whose last column is the label.

    >>> import polars as pl
    >>> class Far:
    ...     classes_ = [False, True]
    ...
    ...     def predict_proba(self, x):
    ...         return [[1 - miles / 5000, miles / 5000] for miles in x["miles"]]
    >>> binary(Far(), pl.DataFrame({"miles": [200, 4_000], "late": [False, True]}))["auc"]
    1.0
    """
    from drivetrain.training.frame import xy
    from drivetrain.training.predict import answers

    x, y = xy(_filled(frame))
    classes = classes_of(model, y)
    if len(classes) > 2:
        raise UsageError(
            f"{y.name!r} has {len(classes)} classes, and binary figures are for two",
            remedy="use `dt.metrics.multiclass`",
        )
    _no_strangers(y, classes)
    positive = y.cast(type_of(y)).eq(classes[-1]) if len(classes) == 2 else y.is_null()
    return binary_metrics(positive.to_numpy(), answers(model, x, "binary"), threshold)


def multiclass(model: Any, frame: Any) -> Multiclass:
    """Return the figures of a fitted model on a table, of polars, pandas or Arrow, whose last column is the label."""
    from drivetrain.training.frame import xy
    from drivetrain.training.predict import answers

    x, y = xy(_filled(frame))
    return multiclass_metrics(y.to_list(), answers(model, x, "multiclass"), classes_of(model, y))


def regression(model: Any, frame: Any) -> Regression:
    """Return the figures of a fitted model on a table, of polars, pandas or Arrow, whose last column is the label."""
    from drivetrain.training.frame import xy
    from drivetrain.training.predict import answers

    x, y = xy(_filled(frame))
    return regression_metrics(y.to_numpy(), answers(model, x, "regression"))


def binary_metrics(y: Any, p: Any, threshold: float = 0.5) -> Binary:
    """Return the figures from the truth, as booleans or 0 and 1, and the probabilities of true.

    >>> figures = binary_metrics([0, 1, 1], [0.2, 0.4, 0.9])
    >>> figures["auc"], figures["recall"], round(figures["brier"], 3)
    (1.0, 0.5, 0.137)
    """
    import numpy as np

    from drivetrain.training.curves import area_under_roc, average_precision, calibration_error

    positive, probability = _pair(y, p)
    if not ((positive == 0) | (positive == 1)).all():
        raise UsageError("the truth of a binary figure is neither true nor false in some rows", remedy="give 0 and 1")
    if probability.min() < 0 or probability.max() > 1:
        raise UsageError(
            f"a probability is {probability.min() if probability.min() < 0 else probability.max():.4g}",
            remedy="binary figures need probabilities from 0 to 1; for values, use `dt.metrics.regression`",
        )
    truth = positive.astype(bool)
    called = probability >= threshold
    hits = int((called & truth).sum())
    precision = hits / int(called.sum()) if called.any() else 0.0
    recall = hits / int(truth.sum()) if truth.any() else 0.0
    bounded = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return Binary(
        auc=area_under_roc(truth, probability),
        average_precision=average_precision(truth, probability),
        log_loss=float(-np.log(np.where(truth, bounded, 1 - bounded)).mean()),
        brier=float(((probability - positive) ** 2).mean()),
        accuracy=float((called == truth).mean()),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if hits else 0.0,
        base_rate=float(positive.mean()),
        mean_prediction=float(probability.mean()),
        calibration_error=calibration_error(truth, probability),
        rows=len(truth),
    )


def multiclass_metrics(y: Sequence[Any], p: Any, classes: Sequence[Any]) -> Multiclass:
    """Return the figures from the true classes and the probabilities, (rows, classes), in the order of `classes`.

    A true class that the model does not know counts as wrong in every way.

    >>> multiclass_metrics(["a", "b"], [[0.8, 0.2], [0.6, 0.4]], ["a", "b"])["accuracy"]
    0.5
    """
    import numpy as np

    place = {name: number for number, name in enumerate(classes)}
    # A class that is not known gets a number of its own, which is never predicted.
    for name in y:
        place.setdefault(name, len(place))
    truth, probability = np.array([place[name] for name in y]), np.asarray(p, dtype=np.float64)
    if not len(truth):
        raise _empty()
    if probability.shape != (len(truth), len(classes)):
        raise UsageError(
            f"the probabilities have the shape {probability.shape} for {len(truth)} rows and {len(classes)} classes",
            remedy="give a row for each label and a column for each class",
        )
    chosen = probability.argmax(axis=1)
    present = np.union1d(truth, chosen)
    hits = np.array([((truth == one) & (chosen == one)).sum() for one in present])
    called = np.array([(chosen == one).sum() for one in present])
    real = np.array([(truth == one).sum() for one in present])
    precision = np.divide(hits, called, out=np.zeros(len(present)), where=called > 0)
    recall = np.divide(hits, real, out=np.zeros(len(present)), where=real > 0)
    padded = np.hstack([probability, np.zeros((len(truth), len(place) - len(classes)))])
    told = np.clip(padded[np.arange(len(truth)), truth], _SMALLEST, 1.0)
    return Multiclass(
        accuracy=float((truth == chosen).mean()),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float((2 * hits / (called + real)).mean()),
        log_loss=float(-np.log(told).mean()),
        rows=len(truth),
    )


def regression_metrics(y: Any, p: Any) -> Regression:
    """Return the figures from the true values and the predicted ones.

    >>> regression_metrics([1.0, 3.0], [2.0, 3.0])["mae"]
    0.5
    """
    import numpy as np

    truth, predicted = _pair(y, p)
    error = predicted - truth
    spread = float(((truth - truth.mean()) ** 2).sum())
    nonzero = truth != 0
    return Regression(
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
        r2=1 - float((error**2).sum()) / spread if spread else float("nan"),
        mape=float((np.abs(error[nonzero]) / np.abs(truth[nonzero])).mean()) if nonzero.any() else float("nan"),
        bias=float(error.mean()),
        mean_prediction=float(predicted.mean()),
        rows=len(truth),
    )


def classes_of(model: Any, y: pl.Series) -> list[Any]:
    """Return the classes that a model tells apart, in its order; by default those of the label, in theirs."""
    known = getattr(model, "classes_", None)
    if known is None:
        return y.unique().sort().to_list()
    listed: list[Any] = known.tolist() if hasattr(known, "tolist") else list(known)
    return listed


def type_of(y: pl.Series) -> Any:
    """Return the type in which a label is compared with classes: categories as text."""
    import polars as pl

    return pl.String if y.dtype in (pl.Categorical, pl.Enum) else y.dtype


def _no_strangers(y: pl.Series, classes: list[Any]) -> None:
    strange = [value for value in y.unique().to_list() if value not in classes]
    if strange:
        raise UsageError(
            f"the label {y.name!r} is {strange[0]!r} in some rows, and the model knows {classes}",
            remedy="give the label the same values in training and test rows",
        )


def _filled(table: Any) -> pl.DataFrame:
    """Return the table as a polars frame, which must have rows, and a label in each."""
    from drivetrain.data.table import polars_of

    frame = polars_of(table)
    if frame is None:
        raise UsageError(
            f"figures are of a table, and not of a {type(table).__qualname__}",
            remedy="give a frame whose last column is the label",
        )
    if frame.is_empty():
        raise _empty()
    label = frame.columns[-1]
    if frame[label].null_count():
        raise UsageError(
            f"the label {label!r}, the last column, is null in {frame[label].null_count():,} rows",
            remedy=f'leave them out: `frame.drop_nulls("{label}")`',
        )
    return frame


def _pair(y: Any, p: Any) -> tuple[Any, Any]:
    """Return both as float64 arrays, (rows,), after looking at them."""
    import numpy as np

    truth, predicted = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    if not truth.size:
        raise _empty()
    if truth.ndim != 1 or truth.shape != predicted.shape:
        raise UsageError(
            f"there are {truth.shape} labels and {predicted.shape} predictions", remedy="give one of each for a row"
        )
    if not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
        raise UsageError("a label or a prediction is missing or infinite", remedy="leave those rows out")
    return truth, predicted


def _empty() -> UsageError:
    return UsageError("there are no rows to tell figures from", remedy="check the filter or the split before")

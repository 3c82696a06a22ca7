import math
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.errors import UsageError
from drivetrain.training import metrics
from drivetrain.training.frame import xy

PAIRS = st.lists(st.tuples(st.booleans(), st.integers(0, 20).map(lambda p: p / 20)), min_size=2, max_size=60)


@settings(max_examples=100, deadline=None)
@given(pairs=PAIRS, threshold=st.sampled_from([0.3, 0.5, 0.8]))
def test_binary_figures_are_those_of_scikit_learn(pairs: list[tuple[bool, float]], threshold: float) -> None:
    judge = pytest.importorskip("sklearn.metrics")
    y, p = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])

    found = metrics.binary_metrics(y, p, threshold)

    called = p >= threshold
    assert found["log_loss"] == pytest.approx(judge.log_loss(y, p, labels=[False, True]))
    assert found["brier"] == pytest.approx(((p - y) ** 2).mean())
    assert found["accuracy"] == pytest.approx(judge.accuracy_score(y, called))
    assert found["precision"] == pytest.approx(judge.precision_score(y, called, zero_division=0))
    assert found["recall"] == pytest.approx(judge.recall_score(y, called, zero_division=0))
    assert found["f1"] == pytest.approx(judge.f1_score(y, called, zero_division=0))
    assert found["base_rate"] == pytest.approx(y.mean())
    if y.any():
        assert found["average_precision"] == pytest.approx(judge.average_precision_score(y, p))
    if y.any() and not y.all():
        assert found["auc"] == pytest.approx(judge.roc_auc_score(y, p))
    else:
        assert math.isnan(found["auc"])


def test_equal_scores_are_worth_half() -> None:
    assert metrics.binary_metrics([0, 1, 0, 1], [0.5] * 4)["auc"] == 0.5


def test_rows_of_one_class_have_no_auc_and_give_null_in_json() -> None:
    found = metrics.binary_metrics([False, False], [0.1, 0.2])

    assert math.isnan(found["auc"])
    assert msgspec.json.decode(msgspec.json.encode(found))["auc"] is None


def test_perfect_probabilities_have_no_calibration_error() -> None:
    assert metrics.binary_metrics([0, 1], [0.0, 1.0])["calibration_error"] == 0
    assert metrics.binary_metrics([0, 1], [0.45, 0.45])["calibration_error"] == pytest.approx(0.05)


CLASSES = ["a", "b", "c"]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(0, 2**30)), min_size=2, max_size=40))
def test_multiclass_figures_are_those_of_scikit_learn(rows: list[tuple[str, int]]) -> None:
    judge = pytest.importorskip("sklearn.metrics")
    y = [row[0] for row in rows]
    p = np.array([np.random.default_rng(row[1]).dirichlet([1, 1, 1]) for row in rows])
    called = [CLASSES[place] for place in p.argmax(axis=1)]

    found = metrics.multiclass_metrics(y, p, CLASSES)

    assert found["accuracy"] == pytest.approx(judge.accuracy_score(y, called))
    assert found["macro_f1"] == pytest.approx(judge.f1_score(y, called, average="macro", zero_division=0))
    assert found["macro_recall"] == pytest.approx(judge.recall_score(y, called, average="macro", zero_division=0))
    assert found["macro_precision"] == pytest.approx(judge.precision_score(y, called, average="macro", zero_division=0))
    assert found["log_loss"] == pytest.approx(judge.log_loss(y, p, labels=CLASSES))


def test_a_class_that_the_model_does_not_know_is_wrong() -> None:
    found = metrics.multiclass_metrics(["a", "new"], [[0.9, 0.1], [0.9, 0.1]], ["a", "b"])

    assert found["accuracy"] == 0.5
    assert found["log_loss"] > 10


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=2, max_size=40))
def test_regression_figures_are_those_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    judge = pytest.importorskip("sklearn.metrics")
    y, p = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])

    found = metrics.regression_metrics(y, p)

    assert found["mae"] == pytest.approx(judge.mean_absolute_error(y, p))
    assert found["rmse"] == pytest.approx(judge.root_mean_squared_error(y, p))
    assert found["bias"] == pytest.approx((p - y).mean())
    if len(set(y)) > 1:
        assert found["r2"] == pytest.approx(judge.r2_score(y, p))
    if (y != 0).all():
        assert found["mape"] == pytest.approx(judge.mean_absolute_percentage_error(y, p))


@pytest.mark.parametrize(
    ("y", "p", "told"),
    [
        ([], [], "no rows"),
        ([0, 1], [0.5], "2"),
        ([0, 2], [0.5, 0.5], "neither true nor false"),
        ([0, 1], [0.5, 1.5], "1.5"),
        ([0, 1], [0.5, math.nan], "missing or infinite"),
    ],
)
def test_what_cannot_be_judged_is_told(y: list[int], p: list[float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        metrics.binary_metrics(y, p)


class Fixed:
    def __init__(self, classes: list[Any] | None, answer: list[Any]) -> None:
        self.classes_, self.answer = classes, answer

    def predict_proba(self, x: pl.DataFrame) -> list[Any]:
        return self.answer

    def predict(self, x: pl.DataFrame) -> list[Any]:
        return self.answer


def test_a_model_and_a_table_are_enough() -> None:
    table = pl.DataFrame({"miles": [1, 2], "late": ["no", "yes"]})
    model = Fixed(["no", "yes"], [[0.9, 0.1], [0.2, 0.8]])

    assert metrics.binary(model, table)["auc"] == 1.0
    assert metrics.multiclass(model, table)["accuracy"] == 1.0
    assert metrics.regression(Fixed(None, [1.0, 2.0]), table.with_columns(late=pl.Series([1.0, 2.0])))["mae"] == 0


def test_a_table_of_pandas_or_arrow_gives_the_same_figures() -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pl.DataFrame({"miles": [1, 2], "late": ["no", "yes"]})
    model = Fixed(["no", "yes"], [[0.9, 0.1], [0.2, 0.8]])

    for form in (table.to_pandas(), table.to_arrow(), table.lazy()):
        assert metrics.binary(model, form) == metrics.binary(model, table)
    x, y = xy(table.to_pandas())
    assert (list(x.columns), y.name, list(y)) == (["miles"], "late", ["no", "yes"])
    with pytest.raises(UsageError, match="not of a list"):
        metrics.binary(model, [1, 2])


def test_a_single_class_in_the_test_rows_is_no_crash() -> None:
    table = pl.DataFrame({"miles": [1, 2], "late": [False, False]})

    found = metrics.binary(Fixed([False, True], [[0.9, 0.1], [0.2, 0.8]]), table)

    assert found["base_rate"] == 0
    assert math.isnan(found["auc"])


def test_labels_that_do_not_fit_are_told() -> None:
    model = Fixed(["no", "yes"], [[0.9, 0.1], [0.2, 0.8]])

    with pytest.raises(UsageError, match="is null in 1 rows"):
        metrics.binary(model, pl.DataFrame({"a": [1, 2], "late": ["no", None]}))
    with pytest.raises(UsageError, match="'late' is 'maybe'"):
        metrics.binary(model, pl.DataFrame({"a": [1, 2], "late": ["no", "maybe"]}))
    with pytest.raises(UsageError, match="no rows"):
        metrics.binary(model, pl.DataFrame({"a": [], "late": []}))
    with pytest.raises(UsageError, match="multiclass"):
        metrics.binary(Fixed(["a", "b", "c"], []), pl.DataFrame({"a": [1], "late": ["a"]}))

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from tests.data.work import Work

from drivetrain.data.dataset import dataset
from drivetrain.data.features import features
from drivetrain.data.profile import counts
from drivetrain.data.schema import Roles, columns_of
from drivetrain.data.split import split
from drivetrain.errors import DeclarationError, StepFailed, UnknownName
from drivetrain.system.function import step
from drivetrain.system.system import System, name_part
from drivetrain.training.frame import xy
from drivetrain.training.model import Model, model
from drivetrain.training.predict import predictions
from drivetrain.training.reference import Reference
from drivetrain.training.signature import Signature, Task

pytest.importorskip("sklearn")
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

ROWS = 400
RANDOM = np.random.default_rng(0)
MILES = RANDOM.integers(100, 3_000, ROWS)
TABLE = pl.DataFrame(
    {
        "id": range(ROWS),
        "carrier": RANDOM.choice(["UA", "AA", "B6"], ROWS),
        "miles": MILES.astype("float32"),
        "wind": RANDOM.normal(10, 3, ROWS).astype("float32"),
        "landed": MILES,
        "late": MILES + RANDOM.normal(0, 500, ROWS) > 1_500,
    }
).with_columns(wind=pl.when(pl.col("id") % 9 > 0).then("wind"))


@dataset(key="id", label="late", later=["landed"])
def flights() -> pl.DataFrame:
    return TABLE


@features
def departure(flights: pl.LazyFrame) -> pl.LazyFrame:
    return flights.select("id", "carrier", "miles", "wind")


def pipeline(estimator: Any) -> Any:
    numbers = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(make_column_transformer((numbers, ["carrier"]), remainder="passthrough"), estimator)


def worked(folder: Path, part: Model) -> Work:
    train, test = split(departure)
    name_part(train, "train")
    name_part(test, "test")
    work = Work(folder, flights, departure, train, test, part)
    work.until(part.name)
    return work


def told(work: Work, name: str = "lateness") -> tuple[Signature, dict[str, Any]]:
    detail = work.artifact(name).detail
    return msgspec.convert(detail["signature"], Signature), detail


def test_a_model_tells_its_signature_and_reference(tmp_path: Path) -> None:
    @model
    def lateness(train: pl.DataFrame, learning_rate: float = 0.1) -> Any:
        return pipeline(HistGradientBoostingClassifier(learning_rate=learning_rate, max_iter=5)).fit(*xy(train))

    work = worked(tmp_path, lateness)

    signature, detail = told(work)
    assert (signature.task, signature.label, signature.classes) == ("binary", "late", [False, True])
    assert [column.name for column in signature.features] == ["carrier", "miles", "wind"]
    assert [column.name for column in signature.request] == ["id", "carrier", "miles", "wind"]
    assert (detail["training"], detail["features"], detail["dataset"], detail["side"]) == (
        "train",
        "departure",
        "flights",
        [],
    )
    reference = work.store.json(detail["reference"], Reference)
    assert set(reference.features) == {"carrier", "miles", "wind"}
    found = predictions(work.value("lateness"), work.value("train").drop("late"), signature)
    assert found.shape == (reference.rows,)
    assert counts(pl.Series(found), reference.prediction) == reference.prediction.bins.counts


def signature_of(x: pl.DataFrame, task: Any) -> Signature:
    columns = columns_of(x)
    return Signature(task=task, label="y", classes=[], request=columns, features=columns, roles=Roles())


NUMBERS = TABLE.select("miles", "wind").fill_null(0)


@pytest.mark.parametrize("as_array", [False, True])
def test_estimators_answer_as_they_were_fitted(as_array: bool) -> None:
    x = NUMBERS.to_numpy() if as_array else NUMBERS
    kinds = TABLE["carrier"].to_numpy()
    binary = LogisticRegression().fit(x, TABLE["late"])
    several = HistGradientBoostingClassifier(max_iter=2).fit(x, kinds)
    number = HistGradientBoostingRegressor(max_iter=2).fit(x, MILES)

    assert predictions(binary, NUMBERS, signature_of(NUMBERS, "binary")) == pytest.approx(binary.predict_proba(x)[:, 1])
    assert predictions(several, NUMBERS, signature_of(NUMBERS, "multiclass")).shape == (ROWS, 3)
    assert predictions(number, NUMBERS, signature_of(NUMBERS, "regression")) == pytest.approx(number.predict(x))


def test_boosters_of_lightgbm_answer() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    from drivetrain.training.predict import task_of

    fitted = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(NUMBERS.to_numpy(), TABLE["late"].to_numpy().astype(int)),
        3,
    )

    assert task_of(fitted, TABLE["late"]) == ("binary", [False, True])
    found = predictions(fitted, NUMBERS, signature_of(NUMBERS, "binary"))
    assert 0 < found.min() < found.max() < 1


def test_boosters_of_xgboost_answer() -> None:
    xgboost = pytest.importorskip("xgboost")
    from drivetrain.training.predict import task_of

    data = xgboost.DMatrix(NUMBERS.to_numpy(), TABLE["late"].to_numpy().astype(int))
    fitted = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 3)

    assert task_of(fitted, TABLE["late"])[0] == "binary"
    assert predictions(fitted, NUMBERS, signature_of(NUMBERS, "binary")) == pytest.approx(fitted.predict(data))


def test_torch_modules_answer() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(logits.weight, 1e-3)
    several = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Softmax(dim=1))

    one = predictions(logits, NUMBERS, signature_of(NUMBERS, "binary"))
    raw = predictions(logits, NUMBERS, signature_of(NUMBERS, "regression"))

    assert one == pytest.approx(1 / (1 + np.exp(-raw)), abs=1e-6)
    found = predictions(several, NUMBERS, signature_of(NUMBERS, "multiclass"))
    assert found.sum(axis=1) == pytest.approx(np.ones(ROWS))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_torch_modules_answer_rows_as_they_answer_frames(task: Task) -> None:
    torch = pytest.importorskip("torch")
    from drivetrain.training.torch import Tabular

    torch.manual_seed(0)
    module = torch.nn.Linear(3, 3 if task == "multiclass" else 1).train()
    frame = pl.DataFrame(
        {
            "a": [1, 2**24 + 1, 2**53 + 1, None],
            "b": [True, False, True, True],
            "c": pl.Series([0.1, -1.5, None, 2.0], dtype=pl.Float32),
        }
    )

    told = predictions(module, frame, signature_of(frame, task))

    assert module.training
    by_rows = Tabular(module, task).scores(frame.rows())
    assert np.isnan(told).any()
    np.testing.assert_array_equal(by_rows, told.astype(np.float32))


def test_a_dataset_used_directly_is_its_own_features(tmp_path: Path) -> None:
    @model
    def lateness(flights: pl.DataFrame) -> Any:
        return LogisticRegression().fit(flights.select("miles"), flights["late"])

    work = Work(tmp_path, flights, lateness)
    work.until("lateness")

    signature, detail = told(work)
    assert detail["features"] == ""
    assert detail["dataset"] == "flights"
    assert [column.name for column in signature.features] == ["miles"]
    assert signature.request == signature.features


def test_a_table_of_a_plain_step_has_its_label_last(tmp_path: Path) -> None:
    @step
    def train() -> pl.DataFrame:
        return TABLE.select("miles", price=pl.col("miles") * 2)

    @model
    def lateness(train: pl.DataFrame) -> Any:
        return LinearRegression().fit(*xy(train))

    work = Work(tmp_path, train, lateness)
    work.until("lateness")

    signature, _ = told(work)
    assert (signature.task, signature.label, signature.classes) == ("regression", "price", [])


def test_what_cannot_be_a_model_is_told(tmp_path: Path) -> None:
    @model
    def lateness(train: pl.DataFrame) -> dict[str, int]:
        return {"weight": 1}

    with pytest.raises(StepFailed, match="neither predict_proba nor predict"):
        worked(tmp_path, lateness)

    @model
    def alone() -> Any: ...

    with pytest.raises(DeclarationError, match="nothing to learn from"):
        System("flights", alone)


def test_the_task_can_be_declared(tmp_path: Path) -> None:
    # A regression's values lie around 0 and 1 here, and are to count as probabilities.
    @model(task="binary")
    def lateness(train: pl.DataFrame) -> Any:
        x, y = xy(train.select("miles", "late"))
        return LinearRegression().fit(x.to_numpy(), y)

    table = TABLE.select("miles", "late")

    @step
    def train() -> pl.DataFrame:
        return table

    work = Work(tmp_path, train, lateness)
    work.until("lateness")

    signature, _ = told(work)
    assert (signature.task, signature.classes) == ("binary", [False, True])
    assert lateness.declared() == {"task": "binary"}


def test_a_misspelt_task_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean binary"):
        model(task="binray")  # type: ignore[call-overload]  # the mistake that is tested

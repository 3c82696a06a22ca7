import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.data.work import Work

from drivetrain.data.dataset import Dataset, dataset
from drivetrain.data.features import Features, compute, features
from drivetrain.errors import DeclarationError, FeatureSkew, StepFailed
from drivetrain.system.system import System

START = datetime(2013, 1, 1)  # noqa: DTZ001  # wall time
ROWS = 600
SEEN: list[list[str]] = []


@dataset(key="id", time="at", label="late", later=["departed"])
def flights() -> pl.DataFrame:
    random.seed(0)
    return pl.DataFrame(
        {
            "id": [f"f{number}" for number in range(ROWS)],
            "at": [START + timedelta(minutes=37 * number) for number in range(ROWS)],
            "origin": [random.choice(["EWR", "JFK"]) for _ in range(ROWS)],
            "miles": [float(random.randrange(100, 3_000)) if number % 7 else None for number in range(ROWS)],
            "departed": [START] * ROWS,
            "late": [number % 3 == 0 for number in range(ROWS)],
        }
    )


@dataset
def weather() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "seen": [START + timedelta(hours=hour) for hour in range(400)] * 2,
            "origin": ["EWR"] * 400 + ["JFK"] * 400,
            "wind": [float(hour % 13) for hour in range(800)],
        }
    )


def perform(folder: Path, function: Any, entity: Dataset = flights) -> tuple[pl.DataFrame, Work]:
    work = Work(folder, entity, weather, features(function))
    return work.until(function.__name__), work


def test_features_stand_between_key_and_time_and_the_label(tmp_path: Path) -> None:
    def departure(flights: pl.LazyFrame, weather: pl.LazyFrame) -> pl.LazyFrame:
        SEEN.append(flights.collect_schema().names())
        return (
            flights.sort("at")
            .join_asof(weather.sort("seen"), left_on="at", right_on="seen", by="origin", check_sortedness=False)
            .select("wind", "id", hour=pl.col("at").dt.hour())
        )

    found, work = perform(tmp_path, departure)

    assert found.columns == ["id", "at", "wind", "hour", "late"]
    assert found["id"].to_list() == flights()["id"].to_list()
    assert found["late"].to_list() == flights()["late"].to_list()
    detail = work.artifact("departure").detail
    assert [column["name"] for column in detail["columns"]] == ["wind", "hour"]
    assert [column["name"] for column in detail["request"]] == ["id", "at", "origin", "miles"]
    assert (detail["features"], detail["dataset"], detail["side"]) == ("departure", "flights", ["weather"])


def test_rows_need_neither_key_nor_time(tmp_path: Path) -> None:
    @dataset(label="odd")
    def numbers() -> pl.DataFrame:
        return pl.DataFrame({"x": [1.0, 2.0, 3.0], "odd": [1, 0, 1]})

    def halves(numbers: pl.LazyFrame) -> pl.LazyFrame:
        return numbers.select(half=pl.col("x") / 2)

    found = Work(tmp_path, numbers, features(halves)).until("halves")

    assert found.to_dict(as_series=False) == {"half": [0.5, 1.0, 1.5], "odd": [1, 0, 1]}


def test_the_function_never_sees_the_label_nor_what_is_known_later(tmp_path: Path) -> None:
    SEEN.clear()

    def watched(flights: pl.LazyFrame) -> pl.LazyFrame:
        SEEN.append(flights.collect_schema().names())
        return flights.select("id", "miles")

    perform(tmp_path, watched)

    assert len(SEEN) > 8
    assert not {"late", "departed"} & {name for names in SEEN for name in names}


def test_asking_for_the_label_fails(tmp_path: Path) -> None:
    def leaking(flights: pl.LazyFrame) -> pl.LazyFrame:
        return flights.select("id", "late")

    with pytest.raises(pl.exceptions.ColumnNotFoundError) as raised:
        perform(tmp_path, leaking)

    (note,) = raised.value.__notes__
    assert "'late' is the label, so it is taken away" in note


def test_a_batch_mean_is_found_out(tmp_path: Path) -> None:
    def skewed(flights: pl.LazyFrame) -> pl.LazyFrame:
        return flights.select("id", usual=pl.col("miles") - pl.col("miles").mean())

    with pytest.raises(FeatureSkew, match=r"id='f\d+', the feature 'usual' is .* alone and .* among") as caught:
        perform(tmp_path, skewed)
    assert caught.value.place
    assert caught.value.place.file == __file__


def test_a_value_of_the_row_before_is_found_out(tmp_path: Path) -> None:
    def skewed(flights: pl.LazyFrame) -> pl.LazyFrame:
        return flights.select("id", before=pl.col("miles").shift(1))

    with pytest.raises(FeatureSkew, match="before"):
        perform(tmp_path, skewed)


def test_a_count_within_the_batch_is_found_out(tmp_path: Path) -> None:
    def skewed(flights: pl.LazyFrame) -> pl.LazyFrame:
        return flights.select("id", busy=pl.len().over("origin"))

    with pytest.raises(FeatureSkew, match="busy"):
        perform(tmp_path, skewed)


def test_a_sort_is_mended_by_the_key_and_found_out_without(tmp_path: Path) -> None:
    def ordered(flights: pl.LazyFrame) -> pl.LazyFrame:
        return flights.sort("miles").select("id", "miles")

    found, _ = perform(tmp_path / "a", ordered)
    assert found["miles"].to_list() == flights()["miles"].to_list()

    @dataset(label="late")
    def flights_without() -> pl.DataFrame:
        table: pl.DataFrame = flights()
        return table.drop("id").sort("at")

    def unkeyed(flights_without: pl.LazyFrame) -> pl.LazyFrame:
        return flights_without.sort("at").select("miles")

    with pytest.raises(FeatureSkew, match="in another order"):
        perform(tmp_path / "b", unkeyed, flights_without)


def test_an_error_for_a_row_alone_is_found_out(tmp_path: Path) -> None:
    def fragile(flights: pl.DataFrame) -> pl.DataFrame:
        if flights.height < 10:
            raise ValueError("too few")
        return flights.select("id", "miles")

    with pytest.raises(FeatureSkew, match="alone, it raises ValueError: too few"):
        perform(tmp_path, fragile)


def test_pandas_is_handed_in_where_it_is_asked_for(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")

    def plain(flights: Any) -> Any:
        return flights.assign(far=flights["miles"] > 500)[["id", "far"]]

    plain.__annotations__ = {"flights": pandas.DataFrame, "return": pandas.DataFrame}

    found, _ = perform(tmp_path, plain)

    assert found["far"].to_list() == (flights()["miles"] > 500).fill_null(False).to_list()


def no_key(flights: pl.LazyFrame) -> pl.LazyFrame:
    return flights.select("miles")


def filtered(flights: pl.LazyFrame) -> pl.LazyFrame:
    return flights.filter(pl.col("miles") > 500).select("id", "miles")


def fanned_out(flights: pl.LazyFrame, weather: pl.LazyFrame) -> pl.LazyFrame:
    return flights.join(weather, on="origin").select("id", "wind")


def nothing_but_the_key(flights: pl.LazyFrame) -> pl.LazyFrame:
    return flights.select("id", "at")


def label_again(flights: pl.LazyFrame) -> pl.LazyFrame:
    return flights.select("id", late=pl.col("miles") > 0)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (no_key, "does not return the key 'id'"),
        (filtered, "no row for"),
        (fanned_out, "more than once"),
        (nothing_but_the_key, "no column that is a feature"),
        (label_again, "a column 'late'"),
    ],
)
def test_rows_and_columns_that_do_not_fit_are_told(tmp_path: Path, function: Any, told: str) -> None:
    with pytest.raises(StepFailed, match=told):
        perform(tmp_path, function)


def test_exactly_one_input_has_a_label() -> None:
    @features
    def none(weather: pl.LazyFrame) -> pl.LazyFrame:
        return weather

    with pytest.raises(DeclarationError, match="of which none has a label"):
        System("flights", weather, none)

    @dataset(label="late")
    def others() -> pl.DataFrame:
        raise NotImplementedError

    @features
    def both(flights: pl.LazyFrame, others: pl.LazyFrame) -> pl.LazyFrame:
        return flights

    with pytest.raises(DeclarationError, match="flights and others, which all have a label"):
        System("flights", flights, others, both)


@pytest.fixture(scope="module")
def served() -> Features:
    @features
    def departure(flights: pl.LazyFrame, scale: float = 2.0) -> pl.LazyFrame:
        return flights.sort("miles").select("id", miles=pl.col("miles") * scale)

    System("flights", flights, departure)
    return departure


def test_requests_without_a_key_get_one(served: Features) -> None:
    absent = pl.DataFrame({"miles": [3.0, 1.0, 2.0]})
    some = pl.DataFrame({"id": ["a", None, None], "miles": [3.0, 1.0, 2.0]})
    numbers = some.with_columns(id=pl.Series([5, None, None]))

    for rows in (absent, some, numbers):
        assert compute(served, rows, {})["miles"].to_list() == [6.0, 2.0, 4.0]


def test_one_key_may_be_asked_about_twice_at_once(served: Features) -> None:
    rows = pl.DataFrame({"id": ["a", "b", "a", "a"], "miles": [3.0, 1.0, 2.0, 5.0]})

    assert compute(served, rows, {})["miles"].to_list() == [6.0, 2.0, 4.0, 10.0]


def test_the_server_can_use_the_settings_of_training(served: Features, tmp_path: Path) -> None:
    rows = pl.DataFrame({"id": ["a"], "miles": [3.0]})
    work = Work(tmp_path, flights, served)

    trained = work.until("departure", scale=10.0)

    assert trained["miles"].max() == 10.0 * flights()["miles"].max()
    assert compute(served, rows, {}, settings={"scale": 10.0}).item() == 30.0


def test_categories_come_as_text_in_requests(tmp_path: Path) -> None:
    @dataset(key="id", label="late")
    def categorised() -> pl.DataFrame:
        table: pl.DataFrame = flights()
        return table.cast({"origin": pl.Categorical})

    def physical(categorised: pl.LazyFrame) -> pl.LazyFrame:
        return categorised.select("id", origin=pl.col("origin").to_physical())

    with pytest.raises(FeatureSkew, match="origin"):
        perform(tmp_path, physical, categorised)

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.work import Work

from drivetrain.data.dataset import dataset
from drivetrain.data.features import features
from drivetrain.data.schema import Roles
from drivetrain.data.split import rows_to_test, split
from drivetrain.errors import BadSetting, DeclarationError, StepFailed
from drivetrain.system.system import System, name_part

START = datetime(2013, 1, 1)  # noqa: DTZ001  # wall time


@settings(max_examples=60, deadline=None)
@given(
    hours=st.lists(st.one_of(st.none(), st.integers(0, 200)), min_size=1, max_size=40),
    test=st.one_of(st.floats(0.01, 0.99), st.sampled_from(["1d", "36h", "1w"])),
)
def test_by_time_the_newest_rows_are_the_test_and_no_moment_straddles(hours: list[int | None], test: Any) -> None:
    times = [None if hour is None else START + timedelta(hours=hour) for hour in hours]
    table = pl.DataFrame({"at": times, "y": [1] * len(hours)}, schema_overrides={"at": pl.Datetime("us")})

    chosen = rows_to_test(table, Roles(time="at", label="y"), test, part="test")

    assert len(chosen) == len(hours)
    assert not chosen.has_nulls()
    newest = [time for time, is_test in zip(times, chosen, strict=True) if is_test and time]
    older = [time for time, is_test in zip(times, chosen, strict=True) if not is_test and time]
    if newest and older:
        assert max(older) < min(newest)


@settings(max_examples=40, deadline=None)
@given(keys=st.lists(st.text(max_size=8), unique=True, max_size=40), test=st.floats(0.05, 0.95))
def test_by_key_a_row_stays_on_its_side_when_others_come(keys: list[str], test: float) -> None:
    roles = Roles(key="id", label="y")
    table = pl.DataFrame({"id": keys, "y": [1] * len(keys)}, schema={"id": pl.String, "y": pl.Int64})

    whole = dict(zip(keys, rows_to_test(table, roles, test, part="test"), strict=True))
    half = table[::-2]
    part = dict(zip(half["id"], rows_to_test(half, roles, test, part="test"), strict=True))

    assert part == {key: whole[key] for key in part}


@pytest.mark.parametrize("key", ["id", "text", None])
def test_the_share_is_met_and_the_draw_is_fixed(key: str | None) -> None:
    table = pl.DataFrame({"id": range(20_000), "y": 1}).with_columns(text=pl.format("flight {}", "id"))

    chosen = rows_to_test(table, Roles(key=key, label="y"), 0.25, part="test")

    assert chosen.mean() == pytest.approx(0.25, abs=0.01)
    # Versions to come must draw the same: a row that changes sides was learnt from and is judged by.
    assert chosen.head(2_000).sum() == {"id": 492, "text": 515, None: 492}[key]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    @dataset(key="id", time="at", label="late", later=["departed"])
    def flights() -> pl.DataFrame:
        return pl.DataFrame(
            {
                "id": range(100),
                "at": [START + timedelta(days=number) for number in range(100)],
                "miles": range(100),
                "departed": 0,
                "late": [None if number % 10 == 0 else number % 2 == 0 for number in range(100)],
            }
        )

    @features
    def departure(flights: pl.LazyFrame) -> pl.LazyFrame:
        return flights.select("id", far=pl.col("miles") > 50, miles="miles")

    train, test = split(departure, test="21d")
    before, after = split(flights, test=0.5)
    for name, part in {"train": train, "test": test, "before": before, "after": after}.items():
        name_part(part, name)
    return Work(tmp_path, flights, departure, train, test, before, after)


def test_the_sides_are_tables_of_features_and_label(work: Work) -> None:
    train, test = work.until("train"), work.until("test")

    assert train.columns == test.columns == ["far", "miles", "late"]
    assert train.height + test.height == 90
    assert test["miles"].min() == 79
    assert set(train["miles"]) & set(test["miles"]) == set()
    assert not train["late"].has_nulls()
    assert work.artifact("train").detail == work.artifact("departure").detail


def test_a_labelled_dataset_can_be_split_as_it_is(work: Work) -> None:
    before, after = work.until("before"), work.until("after")

    assert before.columns == after.columns == ["miles", "late"]
    assert (before.height, after.height) == (45, 45)
    detail = work.artifact("after").detail
    assert detail["features"] == ""
    assert detail["dataset"] == "flights"
    assert detail["request"] == detail["columns"]


def test_an_empty_side_is_told(tmp_path: Path) -> None:
    @dataset(label="y")
    def single() -> pl.DataFrame:
        return pl.DataFrame({"y": [1]})

    train, _ = split(single, test=0.999)
    name_part(train, "train")

    with pytest.raises(StepFailed, match="no row of 'single'"):
        Work(tmp_path, single, train).until("train")


def test_what_cannot_be_a_split_is_refused_where_it_is_written() -> None:
    @dataset
    def weather() -> pl.DataFrame:
        raise NotImplementedError

    with pytest.raises(BadSetting, match="21 days") as caught:
        split(weather, test="21 days")
    assert caught.value.place
    assert caught.value.place.file == __file__
    with pytest.raises(BadSetting):
        split(weather, test=1.5)
    with pytest.raises(DeclarationError, match="neither features nor a dataset"):
        split("weather")  # type: ignore[arg-type]
    train, _ = split(weather)
    name_part(train, "train")
    with pytest.raises(DeclarationError, match="no label"):
        System("weather", weather, train)


def test_a_length_of_time_needs_a_time() -> None:
    with pytest.raises(StepFailed, match="declares no time"):
        rows_to_test(pl.DataFrame({"y": [1]}), Roles(label="y"), "1d", part="test")

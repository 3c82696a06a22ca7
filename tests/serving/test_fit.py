"""Frames held against a version's request: what fits is taken as a client's JSON would be, what does not is named."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.world import ROW, register, rows, signature

from drivetrain.data.schema import Column
from drivetrain.errors import RequestError
from drivetrain.serving.fit import fit, fitted
from drivetrain.serving.predictor import Predictor
from drivetrain.serving.requests import Reader, reader_for
from drivetrain.serving.table import frame_of, schema_of

if TYPE_CHECKING:
    from drivetrain.store.store import Store

READER = reader_for(signature())


def reader(dtype: str, kind: Any = "int", *, nullable: bool = False) -> Reader:
    return Reader([Column(name="x", kind=kind, dtype=dtype, nullable=nullable)])


def taken(values: pl.Series, dtype: str, kind: Any = "int", *, text: bool = False) -> tuple[list[Any], list[bool]]:
    """Return what is taken of a column, and which rows are bad."""
    found = fit(reader(dtype, kind), values.alias("x").to_frame(), text=["x"] if text else [])
    return found.frame["x"].to_list(), found.bad.to_list()


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "ticket": st.none() | st.sampled_from(["t-1", "t-2"]),
                "distance": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
                "stops": st.none() | st.integers(-(2**40), 2**40),
                "is_new": st.none() | st.booleans(),
                "wind": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_frame_is_told_what_the_same_rows_as_json_are_told(changes: list[dict[str, Any]]) -> None:
    asked = [{**ROW, **changed} for changed in changes]
    body = msgspec.json.encode(asked)
    frame = pl.DataFrame(asked, infer_schema_length=None)

    try:
        answered: Any = frame_of(schema_of(READER.columns), READER.many(body, limit=10)[0]).to_dicts()
    except RequestError as error:
        answered = error.problems
    try:
        found: Any = fitted(READER, frame).to_dicts()
    except RequestError as error:
        found = error.problems

    assert found == answered


def test_a_frame_is_answered_as_its_rows_are(store: Store) -> None:
    frame = rows(60)
    for predictor in (
        Predictor.load(store, register(store, 1)),
        Predictor.load(store, register(store, 2, is_fast=False)),
    ):
        asked = fitted(predictor.reader, frame.select(reversed(frame.columns)))

        assert predictor.answer_frame(asked).predictions == pytest.approx(predictor.answer(asked.rows()).predictions)


def test_what_is_missing_strange_or_of_another_type_is_told_for_the_column() -> None:
    frame = rows(3).drop("stops").with_columns(city=pl.lit(1), distanse=pl.lit(1.0))

    with pytest.raises(RequestError, match="3 values do not fit") as caught:
        fitted(READER, frame)

    assert caught.value.status == 422
    assert caught.value.problems == [
        {"row": None, "field": "distanse", "found": "an unknown field", "wanted": "did you mean distance?"},
        {"row": None, "field": "stops", "found": "nothing", "wanted": "a whole number"},
        {"row": None, "field": "city", "found": "a column of Int32", "wanted": "a text"},
    ]


def test_what_may_be_left_out_may_be_left_out() -> None:
    found = fitted(READER, rows(3).drop("ticket", "wind"))

    assert found.columns == READER.names
    assert found["wind"].null_count() == found["ticket"].null_count() == 3


def test_at_most_twenty_problems_are_told_in_the_order_of_the_rows() -> None:
    frame = rows(40).with_columns(stops=pl.lit(None, pl.Int32), city=pl.lit(None, pl.String))

    with pytest.raises(RequestError, match="20 or more values") as caught:
        fitted(READER, frame)

    assert [problem["row"] for problem in caught.value.problems] == [number // 2 for number in range(20)]


def test_numbers_are_taken_where_nothing_is_lost() -> None:
    assert taken(pl.Series([1, 127, 128]), "Int8") == ([1, 127, None], [False, False, True])
    assert taken(pl.Series([1.0, 1.5, float("nan")]), "Int32") == ([1, None, None], [False, True, True])
    assert taken(pl.Series([-1, 1]), "UInt8") == ([None, 1], [True, False])
    assert taken(pl.Series([1, 2], dtype=pl.UInt8), "Float64", "float") == ([1.0, 2.0], [False, False])
    assert taken(pl.Series([1.5, 1e300]), "Float32", "float") == ([1.5, None], [False, True])
    assert fit(reader("Int32"), pl.DataFrame({"x": ["1"]})).problems[0]["found"] == "a column of String"


def test_numbers_and_truth_values_may_be_written_out_in_a_text_file() -> None:
    assert taken(pl.Series(["1", "2.0", "2.5", "x"]), "Int32", text=True)[0] == [1, 2, None, None]
    assert taken(pl.Series(["1", "1e3", "x"]), "Float64", "float", text=True)[0] == [1.0, 1000.0, None]
    assert taken(pl.Series(["true", "False", "0"]), "Boolean", "bool", text=True)[0] == [True, False, None]


def test_times_are_taken_in_any_form_that_says_the_same() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    local = noon.replace(tzinfo=None)
    zoned = "Datetime(time_unit='us', time_zone='UTC')"

    assert taken(pl.Series(["2026-01-31T12:00:00", "noon"]), "Datetime('us')", "datetime")[0] == [local, None]
    assert taken(pl.Series([local], dtype=pl.Datetime("ns")), "Datetime('us')", "datetime")[0] == [local]
    assert taken(pl.Series([noon]), zoned, "datetime")[0] == [noon]
    assert taken(pl.Series([local.replace(hour=0), local]), "Date", "date") == (
        [date(2026, 1, 31), None],
        [False, True],
    )
    without = fit(reader(zoned, "datetime"), pl.DataFrame({"x": [local]}))
    assert not without.columns_fit
    assert without.problems[0]["wanted"].endswith("Z, with its offset")


def test_categories_are_text() -> None:
    assert taken(pl.Series(["a", "b"], dtype=pl.Categorical), "String", "str")[0] == ["a", "b"]

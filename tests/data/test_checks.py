import pickle
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.data.checks import (
    Check,
    between,
    check,
    fresh,
    matches,
    not_null,
    one_of,
    row_count,
    run_checks,
    unique,
)
from drivetrain.errors import BadSetting, CheckFailed, DeclarationError, Place, UnknownName

FLIGHTS = pl.DataFrame(
    {
        "flight_id": [1, 2, 3, 4],
        "carrier": ["UA", "AA", None, "UA"],
        "miles": [200.0, 2_475.0, None, 9_000.0],
        "scheduled": [datetime(2013, 1, day) for day in (1, 2, 3, 4)],  # noqa: DTZ001  # wall time
    }
)


@pytest.mark.parametrize(
    ("held", "broken", "count"),
    [
        (unique("flight_id"), unique("carrier"), 2),
        (unique("flight_id", "carrier"), not_null("flight_id", "carrier"), 1),
        (between("flight_id", 1, 4), between("miles", 10, 6_000), 1),
        (one_of("carrier", ["UA", "AA"]), one_of("carrier", ["UA"]), 1),
        (matches("carrier", "^[A-Z]{2}$"), matches("carrier", "^U"), 1),
        (check(pl.col("miles") > 0), check(pl.col("miles") > 1_000, name="far"), 1),
    ],
)
def test_a_check_counts_the_rows_that_break_it(held: Check, broken: Check, count: int) -> None:
    assert run_checks(FLIGHTS, [held], part="flights") == []

    with pytest.raises(CheckFailed) as caught:
        run_checks(FLIGHTS, [held, broken], part="flights", place=Place("flights.py", 3))

    assert f"in {count} of 4 rows" in str(caught.value)
    assert str(broken) in str(caught.value)
    assert str(held) not in str(caught.value)
    assert "| carrier" in caught.value.rows or "| miles" in caught.value.rows
    assert str(caught.value).startswith("flights.py:3")


def test_all_broken_checks_are_told_at_once_and_the_error_can_be_sent_on() -> None:
    with pytest.raises(CheckFailed) as caught:
        run_checks(FLIGHTS, [between("miles", 0, 1), not_null("carrier")], part="flights")

    assert "between(miles" in str(caught.value)
    assert "not_null(carrier)" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_at_most_five_rows_are_shown() -> None:
    frame = pl.DataFrame({"a": range(100)})

    with pytest.raises(CheckFailed) as caught:
        run_checks(frame, [between("a", 200, 300)], part="flights")

    assert caught.value.rows.count("\n") == 2 + 5


def test_the_number_of_rows_is_checked() -> None:
    run_checks(FLIGHTS, [row_count(1, 4)], part="flights")

    with pytest.raises(CheckFailed, match="there are 4 rows"):
        run_checks(FLIGHTS, [row_count(5)], part="flights")
    with pytest.raises(CheckFailed, match="there are 4 rows"):
        run_checks(FLIGHTS, [row_count(0, 3)], part="flights")


def test_freshness_is_the_age_of_the_newest_row() -> None:
    now = pl.DataFrame({"at": [datetime.now() - timedelta(days=30), datetime.now()]})  # noqa: DTZ005
    run_checks(now, [fresh("at", "2d")], part="weather")

    with pytest.raises(CheckFailed, match="the newest is 2013-01-04"):
        run_checks(FLIGHTS, [fresh("scheduled", "2d")], part="flights")
    with pytest.raises(CheckFailed):
        run_checks(FLIGHTS.clear(), [fresh("scheduled")], part="flights")


def test_a_warning_does_not_fail() -> None:
    found = run_checks(FLIGHTS, [not_null("carrier", severity="warn")], part="flights")

    (told,) = found
    assert told.startswith("not_null(carrier) does not hold in 1 of 4 rows (25.0%), for example carrier=None, ")
    assert run_checks(FLIGHTS, [row_count(9, severity="warn")], part="flights") == [
        "row_count(at_least=9) does not hold: there are 4 rows"
    ]


def test_an_unknown_column_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean carrier"):
        run_checks(FLIGHTS, [not_null("carier")], part="flights")


def test_what_is_no_check_is_refused_where_it_is_written() -> None:
    with pytest.raises(DeclarationError) as caught:
        check("miles > 0")
    assert caught.value.place
    assert caught.value.place.file == __file__
    with pytest.raises(DeclarationError, match="names of columns"):
        unique()
    with pytest.raises(BadSetting, match="two days"):
        fresh("at", "two days")


def test_the_key_tells_expressions_apart() -> None:
    first, second = check(pl.col("miles") > 0, name="n"), check(pl.col("miles") > 1, name="n")

    assert first.declared() != second.declared()
    assert first.declared() == check(pl.col("miles") > 0, name="n").declared()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=30))
def test_checks_agree_with_their_meaning(values: list[int | None]) -> None:
    frame = pl.DataFrame({"a": values}, schema={"a": pl.Int64})
    expected = {
        between("a", -2, 3): sum(value is not None and not -2 <= value <= 3 for value in values),
        not_null("a"): sum(value is None for value in values),
        unique("a"): sum(values.count(value) > 1 for value in values),
        one_of("a", [1, 2]): sum(value is not None and value not in (1, 2) for value in values),
    }

    for one, count in expected.items():
        found = int(frame.select(one.failing().fill_null(False).sum()).item())
        assert found == count


def test_a_misspelt_severity_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean warn"):
        not_null("x", severity="wran")  # type: ignore[arg-type]  # the mistake that is tested

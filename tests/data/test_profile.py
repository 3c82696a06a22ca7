import math
from datetime import date, datetime

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.data.profile import Profile, counts, profile_column, profile_table, shares

EARLY, LATE = datetime(1900, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001  # wall time
COLUMNS = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=40).map(lambda v: pl.Series("a", v, pl.Int64)),
    st.lists(st.one_of(st.none(), st.floats()), max_size=40).map(lambda v: pl.Series("a", v, pl.Float64)),
    st.lists(st.one_of(st.none(), st.sampled_from("abc")), max_size=40).map(lambda v: pl.Series("a", v, pl.String)),
    st.lists(st.one_of(st.none(), st.booleans()), max_size=40).map(lambda v: pl.Series("a", v, pl.Boolean)),
    st.lists(st.one_of(st.none(), st.datetimes(EARLY, LATE)), max_size=40).map(
        lambda v: pl.Series("a", v, pl.Datetime("us"))
    ),
)


@settings(max_examples=150, deadline=None)
@given(series=COLUMNS)
def test_the_bins_hold_each_row_once_and_are_found_again(series: pl.Series) -> None:
    profile = profile_column(series)

    assert sum(profile.bins.counts) == len(series) == profile.rows
    assert counts(series, profile) == profile.bins.counts
    assert len(profile.bins.labels()) == len(profile.bins.counts)
    assert shares(series, profile) == profile.bins.shares
    assert msgspec.json.decode(msgspec.json.encode(profile), type=Profile) == profile
    if len(series):
        assert sum(profile.bins.shares) == pytest.approx(1)


def test_the_figures_of_numbers_are_those_of_polars() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    series = pl.Series("a", [*values.tolist(), None, math.nan])

    profile = profile_column(series)

    assert (profile.rows, profile.nulls, profile.distinct) == (10_002, 2, 10_000)
    assert (profile.low, profile.high) == (values.min(), values.max())
    assert profile.mean == pytest.approx(values.mean())
    assert profile.std == pytest.approx(values.std())
    assert profile.quantiles[3] == pytest.approx(np.median(values), abs=1e-3)
    assert profile.bins.counts == [1_000] * 10 + [2]


def test_a_lump_has_a_bin_of_its_own() -> None:
    profile = profile_column(pl.Series("a", [0.0] * 950 + [float(value) for value in range(1, 51)]))

    assert profile.bins.counts == [950, 50, 0]
    assert profile.bins.labels()[0] == "< 1"


def test_other_data_outside_of_the_range_falls_into_the_outer_bins() -> None:
    profile = profile_column(pl.Series("a", range(100)))

    found = counts(pl.Series([-1_000, 1_000, None]), profile)

    assert (found[0], found[-2], found[-1]) == (1, 1, 1)


def test_rare_and_new_categories_are_counted_together() -> None:
    profile = profile_column(pl.Series("a", [str(number % 25) for number in range(100)] + ["0"] * 10))

    assert len(profile.bins.categories) == 20
    assert profile.bins.categories[0] == "0"
    assert profile.distinct == 25
    assert profile.bins.counts[-2] == 20
    assert counts(pl.Series(["new", None, "0"]), profile)[-2:] == [1, 1]


def test_types_that_requests_bring_fit_the_bins_of_training() -> None:
    days = [date(2013, 1, 1), date(2013, 1, 2)]
    table = pl.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [True, False], "d": days})
    kinds = profile_table(table.cast({"a": pl.Int32, "b": pl.Categorical}))

    assert counts(pl.Series([1.5, 2.0]), kinds["a"]) == [1, 1, 0]
    assert counts(pl.Series(["y"]), kinds["b"])[-1] == 0
    assert counts(pl.Series([None, True]), kinds["c"])[-1] == 1
    assert kinds["d"].low == "2013-01-01T00:00:00"


def test_other_types_are_counted_as_present_or_missing() -> None:
    profile = profile_column(pl.Series("a", [[1], None]))

    assert profile.bins.counts == [1, 1]

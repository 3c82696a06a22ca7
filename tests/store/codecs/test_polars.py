from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal
from polars.testing.parametric import dataframes
from tests.store.codecs.kept import again, kept

from drivetrain.errors import Unkeepable, WrongForm
from drivetrain.store.store import Store

FRAME = pl.DataFrame({"a": [1, 2, None], "b": ["x", None, "z"], "c": [1.5, float("nan"), float("-inf")]})


@settings(max_examples=60, deadline=None)
@given(frame=dataframes(excluded_dtypes=[pl.Object, pl.Struct], max_cols=4, max_size=20))
def test_a_table_comes_back(one_store: Store, frame: pl.DataFrame) -> None:
    seen = one_store.value(one_store.keep(frame, part="part"), pl.DataFrame)

    assert seen.schema == frame.schema
    assert_frame_equal(seen, frame)


def test_a_lazy_table_is_written_as_the_table_that_it_gives(store: Store) -> None:
    lazy, eager = kept(store, FRAME.lazy().filter(pl.col("a") > 1)), kept(store, FRAME.filter(pl.col("a") > 1))

    assert lazy.digest == eager.digest
    assert lazy.rows == eager.rows == 1


def test_a_table_is_read_in_the_form_that_is_wanted(store: Store) -> None:
    table = kept(store, FRAME)

    assert isinstance(store.value(table), pl.DataFrame)
    assert isinstance(store.value(table, pl.LazyFrame | None), pl.LazyFrame)
    assert_frame_equal(store.value(table, pl.LazyFrame).collect(), FRAME)


def test_the_bytes_do_not_depend_on_how_the_table_lies_in_memory(store: Store) -> None:
    big = pl.DataFrame({"a": range(300_000)})
    parts = pl.concat([big[:10], big[10:200_000], big[200_000:]], rechunk=False)

    assert kept(store, parts).digest == kept(store, big).digest == kept(store, parts.lazy()).digest


def test_a_series_comes_back_with_its_name(store: Store) -> None:
    series = pl.Series("late", [True, None, False])

    assert again(store, series, pl.Series, format="parquet").equals(series, check_names=True)


def test_a_table_of_several_columns_is_no_series(store: Store) -> None:
    with pytest.raises(WrongForm, match="3 columns"):
        store.value(kept(store, FRAME), pl.Series)


def test_a_column_of_objects_is_refused_by_its_name(store: Store) -> None:
    frame = pl.DataFrame({"fine": [1], "odd": pl.Series([object()], dtype=pl.Object)})

    with pytest.raises(Unkeepable, match="'odd'"):
        store.keep(frame, part="part")


def test_a_folder_that_looks_like_a_pattern_or_a_partition_changes_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "day=1" / "[ab]*")

    assert_frame_equal(again(store, FRAME, pl.LazyFrame).collect(), FRAME)


def test_what_the_users_own_source_lacks_is_not_blamed_on_the_store(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.parquet"):
        store.keep(pl.scan_parquet("gone.parquet"), part="part")
    assert not list((store.root / "artifacts" / "partial").iterdir())

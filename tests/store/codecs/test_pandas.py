from typing import Any

import polars as pl
import pytest
from tests.store.codecs.kept import again, kept

from drivetrain.errors import Unkeepable
from drivetrain.store.store import Store

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def frames() -> list[Any]:
    plain = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "c": [True, False, True]})
    return [
        plain,
        plain[plain.a > 1],
        plain.set_index("b"),
        plain.set_index(["b", "a"]),
        plain.set_index(pd.date_range("2013-01-01", periods=3, freq="D", tz="America/New_York")),
        plain.astype({"b": "category", "a": "Int64"}),
        plain.head(0),
    ]


@pytest.mark.parametrize("number", range(7))
def test_a_table_comes_back_with_its_index_and_types(store: Store, number: int) -> None:
    frame = frames()[number]

    pd.testing.assert_frame_equal(again(store, frame, pd.DataFrame, format="parquet"), frame, check_freq=False)


@pytest.mark.parametrize("name", ["late", None])
def test_a_series_comes_back(store: Store, name: str | None) -> None:
    series = pd.Series([1.5, 2.5], name=name, index=[4, 7])

    pd.testing.assert_series_equal(again(store, series, pd.Series), series)


def test_polars_reads_what_pandas_wrote_without_a_nameless_index(store: Store) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]})

    seen = store.value(kept(store, frame[frame.a > 1]), pl.DataFrame)

    assert seen.to_dict(as_series=False) == {"a": [2, 3]}


def test_pandas_reads_what_polars_wrote(store: Store) -> None:
    seen = store.value(kept(store, pl.DataFrame({"a": [1, 2]})), pd.DataFrame)

    pd.testing.assert_frame_equal(seen, pd.DataFrame({"a": [1, 2]}))


@pytest.mark.parametrize("columns", [[0, 1], ["a", "a"]])
def test_column_names_that_parquet_cannot_hold_are_refused(store: Store, columns: list[Any]) -> None:
    with pytest.raises(Unkeepable, match="column names"):
        store.keep(pd.DataFrame([[1, 2]], columns=columns), part="part")


def test_a_column_of_several_types_is_refused_by_its_name(store: Store) -> None:
    with pytest.raises(Unkeepable, match="mixed"):
        store.keep(pd.DataFrame({"mixed": [1, "x"]}), part="part")

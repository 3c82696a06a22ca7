from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from drivetrain.errors import NoCodec, Place
from drivetrain.store.store import Store


def test_what_is_kept_is_described(store: Store) -> None:
    kept = store.keep(pl.DataFrame({"a": [1, 2]}), part="flights", detail={"roles": {}})

    assert (kept.format, kept.rows, kept.type_name, kept.detail) == ("parquet", 2, "DataFrame", {"roles": {}})
    assert kept.size_bytes == store.artifacts.path(kept.digest).stat().st_size


def test_what_cannot_be_kept_is_named_with_its_place_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(NoCodec, match=r"system\.py:7: 'clock' returns object"):
        store.keep(object(), part="clock", place=Place("system.py", 7))

    assert list(store.artifacts) == []


def test_a_step_that_fails_while_its_table_is_computed_leaves_nothing(store: Store) -> None:
    def fails(_: Any) -> pl.DataFrame:
        raise KeyError("no such airport")

    lazy = pl.LazyFrame({"a": [1]}).map_batches(fails, schema={"a": pl.Int64})

    with pytest.raises(Exception, match="no such airport"):
        store.keep(lazy, part="flights")
    assert not list(store.artifacts)
    assert not list((store.root / "artifacts" / "partial").iterdir())


def test_json_comes_back_as_the_wanted_type(store: Store) -> None:
    class Profile(msgspec.Struct):
        mean: float
        counts: dict[int, int]

    profile = Profile(mean=float("inf"), counts={1: 2})

    assert store.json(store.keep_json(profile), Profile) == profile


def test_a_store_that_is_opened_again_has_everything(tmp_path: Path) -> None:
    first = Store.open(tmp_path)
    kept = first.keep({"auc": 0.7}, part="quality")
    first.close()

    assert Store.open(tmp_path).value(kept, dict) == {"auc": 0.7}

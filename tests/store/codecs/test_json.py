from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from math import isnan
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.codecs.kept import again, kept

from drivetrain.errors import Unkeepable, WrongForm
from drivetrain.store.store import Store

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text("aé€𝄞\n\"'\\$"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab$flot"), inner),
    max_leaves=20,
)


@dataclass
class Report:
    at: datetime
    shares: dict[int, float]
    range: tuple[float, float]
    note: str | None = None


class Kind(Enum):
    GOOD = "good"


class Scores(TypedDict):
    auc: float
    kind: Kind


class Point(NamedTuple):
    x: int
    y: int


class Settings(msgspec.Struct):
    names: set[str]
    level: Literal["low", "high"]


@settings(max_examples=150, deadline=None)
@given(value=VALUES)
def test_a_plain_value_comes_back(one_store: Store, value: Any) -> None:
    assert one_store.value(one_store.keep(value, part="part")) == value


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (Report(at=datetime(2013, 1, 1, tzinfo=UTC), shares={1: 0.5, 10: 0.5}, range=(0.0, float("inf"))), Report),
        ({"auc": 0.7, "kind": Kind.GOOD}, Scores),
        (Settings(names={"a", "b"}, level="low"), Settings),
        (Point(1, 2), Point),
        ((1, "a"), tuple[int, str]),
        ({3: [1.5], -1: []}, dict[int, list[float]]),
        ({1, 2}, set[int]),
        (None, Report | None),
        ({"k": b"\x00\xff"}, dict[str, bytes]),
        ({"note": 1}, Annotated[dict[str, int], "described"]),
    ],
)
def test_the_annotation_of_the_consumer_brings_the_type_back(store: Store, value: Any, form: Any) -> None:
    assert again(store, value, form, format="json") == value


def test_numbers_that_are_not_finite_come_back_with_and_without_an_annotation(store: Store) -> None:
    value = {"nan": float("nan"), "up": float("inf"), "down": [float("-inf")], "none": None}

    seen = again(store, value)
    typed = again(store, {"nan": float("nan")}, dict[str, float])

    assert isnan(seen.pop("nan"))
    assert seen == {"up": float("inf"), "down": [float("-inf")], "none": None}
    assert isnan(typed["nan"])


def test_the_form_of_such_numbers_on_disk_is_the_documented_one(store: Store) -> None:
    artifact = kept(store, {"auc": float("nan")})

    assert store.artifacts.get(artifact.digest) == b'{"auc":{"$float":"NaN"}}'


def test_numpys_numbers_become_plain_ones(store: Store) -> None:
    assert again(store, {"auc": np.float64(0.5), "n": np.int32(3)}) == {"auc": 0.5, "n": 3}


def test_text_and_bytes_are_kept_as_they_are(store: Store) -> None:
    assert again(store, "line\r\nline €", format="text") == "line\r\nline €"
    assert again(store, b"\x00\xff", format="bytes") == b"\x00\xff"
    assert store.value(kept(store, "€"), bytes) == "€".encode()


@pytest.mark.parametrize(
    ("value", "where", "found"),
    [
        ({"table": pl.DataFrame()}, "['table']", "polars.DataFrame"),
        ({"all": [1, {"deep": np.zeros(2)}]}, "['all'][1]['deep']", "numpy.ndarray"),
        (Report(at=object(), shares={}, range=(0, 1)), ".at", "builtins.object"),  # type: ignore[arg-type]
        ({"sum": 1 + 2j}, "['sum']", "builtins.complex"),
        ({"odd": {(1, 2): 3}}, "['odd']", "a dict with the key (1, 2)"),
        ({1: "a", "1": "b"}, "", "would become the same key"),
        ({"x": "\ud800"}, "['x']", "not Unicode"),
        ([{"$float": "NaN"}], "[0]", "$float"),
    ],
)
def test_what_json_would_lose_is_refused_by_its_place(store: Store, value: Any, where: str, found: str) -> None:
    with pytest.raises(Unkeepable) as caught:
        store.keep(value, part="quality")

    assert caught.value.where == where
    assert found in str(caught.value)
    assert "'quality'" in str(caught.value)


def test_a_dict_that_holds_an_estimator_is_refused_by_its_key(store: Store) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")

    with pytest.raises(Unkeepable, match=r"\['model'\] is a sklearn.Ridge"):
        store.keep({"model": linear_model.Ridge()}, part="part")


def test_a_list_that_holds_itself_is_refused(store: Store) -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(Unkeepable, match="holds itself"):
        store.keep(value, part="part")


def test_a_value_that_does_not_fit_the_annotation_is_told_so(store: Store) -> None:
    with pytest.raises(WrongForm, match="auc"):
        store.value(kept(store, {"auc": "high", "kind": "good"}), Scores)

from math import isnan
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.errors import Unkeepable
from drivetrain.store.exact import decode, encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text('ab"\\€$'),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["$float", "a", "null", ""]), inner),
)


@settings(max_examples=150, deadline=None)
@given(value=VALUES)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    data = encode(value)

    assert decode(data) == value
    assert decode(data.decode()) == value
    assert encode(decode(data)) == data


def test_equal_dicts_give_equal_bytes() -> None:
    assert encode({"b": 1, "a": {2: 3, 1: 4}}) == encode({"a": {1: 4, 2: 3}, "b": 1}) == b'{"a":{"1":4,"2":3},"b":1}'


def test_numbers_that_are_not_finite_come_back_in_structs() -> None:
    class Bounds(msgspec.Struct):
        low: float
        high: float | None

    seen = decode(encode(Bounds(float("nan"), float("inf"))), Bounds)

    assert isnan(seen.low)
    assert seen.high == float("inf")


def test_a_dict_that_looks_like_such_a_number_is_refused_and_others_are_not() -> None:
    with pytest.raises(Unkeepable, match=r"\['a'\]"):
        encode({"a": {"$float": "NaN"}})
    assert decode(encode({"$float": "a word", "b": None})) == {"$float": "a word", "b": None}
    assert decode(encode({"$float": ["NaN"]})) == {"$float": ["NaN"]}

"""Rows and answers as tensors, and what is said about tensors that do not fit."""

from __future__ import annotations

import struct
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.world import ROW, signature

from drivetrain.data.schema import Column
from drivetrain.errors import RequestError
from drivetrain.serving.requests import Reader, reader_for
from drivetrain.serving.tensors import (
    DTYPES,
    Tensor,
    from_bytes,
    from_texts,
    from_values,
    inputs_of,
    rows_from,
    to_bytes,
)

READER = reader_for(signature())
NUMBERS = Reader(
    [
        Column(name="id", kind="int", dtype="Int64"),
        Column(name="a", kind="float", dtype="Float64"),
        Column(name="b", kind="int", dtype="Int32"),
        Column(name="c", kind="bool", dtype="Boolean"),
        Column(name="d", kind="float", dtype="Float32", nullable=True),
    ],
    optional=frozenset({"id"}),
)


def columns(**changed: Any) -> list[Tensor]:
    """Return a tensor for each column of the row, with some changed; `...` takes one away."""
    kinds = {each.name: each.datatype for each in inputs_of(READER)}
    row = {name: value for name, value in {**ROW, **changed}.items() if value is not ...}
    return [from_values(name, kinds[name], [1], [value]) for name, value in row.items()]


def refused(*arguments: Any, to: Any = from_values) -> list[dict[str, Any]]:
    with pytest.raises(RequestError) as caught:
        to(*arguments)
    assert caught.value.status == 422
    return caught.value.problems


def test_a_version_says_what_it_takes() -> None:
    assert {each.name: each.datatype for each in inputs_of(READER)} == {
        "ticket": "BYTES",
        "asked_at": "BYTES",
        "distance": "FP64",
        "stops": "INT32",
        "is_new": "BOOL",
        "city": "BYTES",
        "day": "BYTES",
        "wind": "FP64",
    }


def test_a_tensor_a_column_gives_rows_in_the_types_of_the_columns() -> None:
    (row,) = rows_from(READER, columns(ticket=..., wind=None), limit=10)

    assert row == (None, datetime(2026, 1, 31, 9, 30), 120.5, 2, True, "Oslo", date(2026, 1, 31), None)  # noqa: DTZ001


def test_one_tensor_of_all_numbers_is_taken_in_the_order_of_the_signature() -> None:
    with_key = from_values("input-0", "FP64", [2, 5], [[7, 1.5, 2.0, 1, 3.0], [8, 2.5, 3.0, 0, None]])
    without = from_bytes("input-0", "FP32", [1, 4], np.array([1.5, 2, 1, np.nan], "<f4").tobytes())

    assert rows_from(NUMBERS, [with_key], limit=10) == [(7, 1.5, 2, True, 3.0), (8, 2.5, 3, False, None)]
    assert rows_from(NUMBERS, [without], limit=10) == [(None, 1.5, 2, True, None)]


@pytest.mark.parametrize(
    ("changed", "field", "found"),
    [
        ({"distance": float("inf")}, "distance", "a number out of range"),
        ({"distance": float("nan")}, "distance", "NaN"),
        ({"distance": None}, "distance", "null"),
        ({"asked_at": "yesterday"}, "asked_at", '"yesterday"'),
        ({"city": ...}, "city", "nothing"),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_named(changed: Any, field: str, found: str) -> None:
    (problem,) = refused(READER, columns(**changed), to=lambda *given: rows_from(*given, limit=10))

    assert (problem["field"], problem["found"]) == (field, found)


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (Tensor("x", "FP64", [1, 6], [1.0] * 6), "FP64 of the shape [1, 6]"),
        (Tensor("x", "BYTES", [1, 4], ["1"] * 4), "BYTES of the shape [1, 4]"),
        (Tensor("x", "FP64", [1, 1, 4], [1.0] * 4), "an unknown input"),
        (Tensor("a", "FP64", [1, 1, 1], [1.0]), "the shape [1, 1, 1]"),
        (Tensor("a", "FP64", [1, 2], [1.0, 2.0]), "the shape [1, 2]"),
    ],
)
def test_a_tensor_of_another_form_is_refused(tensor: Tensor, found: str) -> None:
    problem = refused(NUMBERS, [tensor], to=lambda *given: rows_from(*given, limit=10))[0]

    assert (problem["field"], problem["found"]) == (tensor.name, found)


def one_tensor(*lengths: int | None, **more: Any) -> Reader:
    return Reader([Column(name="input", kind="tensor", dtype="float64", form={"shape": lengths}), *more.values()])


def test_the_one_tensor_of_a_model_may_have_any_name() -> None:
    reader = one_tensor(4)

    found = rows_from(reader, [from_values("input-0", "FP32", [2, 4], [[1, 2, 3, 4], [5, 6, 7, 8]])], limit=10)

    assert [row[0].tolist() for row in found] == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_the_one_column_that_must_be_given_may_have_any_name() -> None:
    note = Column(name="note", kind="str", dtype="String", nullable=True)
    text = Reader([Column(name="text", kind="str", dtype="String"), note])

    assert rows_from(text, [from_values("input-0", "BYTES", [2, 1], ["a", "b"])], limit=10) == [
        ("a", None),
        ("b", None),
    ]
    assert rows_from(Reader([note]), [from_values("x", "BYTES", [1], ["a"])], limit=10) == [("a",)]


@pytest.mark.parametrize(
    ("lengths", "shape", "wanted"),
    [([4], [2, 3], "input, [rows, 4]"), ([None, 2], [2, 4], "input, [rows, any, 2]"), ([4], [4], "input, [rows, 4]")],
)
def test_the_one_tensor_in_another_shape_is_told_which_is_taken(lengths: Any, shape: list[int], wanted: str) -> None:
    tensor = Tensor("input-0", "FP32", shape, [1.0] * int(np.prod(shape)))

    (problem,) = refused(one_tensor(*lengths), [tensor], to=lambda *given: rows_from(*given, limit=10))

    assert problem == {
        "row": None,
        "field": "input-0",
        "found": f"FP32 of the shape {shape}",
        "wanted": wanted,
    }


def test_one_tensor_is_not_taken_for_two_columns_that_must_be_given() -> None:
    reader = one_tensor(4, text=Column(name="text", kind="str", dtype="String"))

    (problem,) = refused(reader, [Tensor("x", "FP64", [1, 4], [1.0] * 4)], to=lambda *args: rows_from(*args, limit=9))

    assert problem["wanted"] == "a tensor for each column: input, text"


def whole(*names: str) -> Reader:
    return Reader([Column(name=name, kind="int", dtype="Int64") for name in names])


def one(name: str) -> Tensor:
    return Tensor(name, "INT64", [1], [1])


def test_a_column_is_known_by_its_name_with_hyphens() -> None:
    given = [one("sepal-length"), one("sepal-width")]

    assert rows_from(whole("sepal_length", "sepal_width"), given, limit=10) == [(1, 1)]


@pytest.mark.parametrize(
    ("reader", "given", "found"),
    [
        (whole("a_b-c", "a-b_c"), [one("a-b-c"), one("a-b_c")], "an unknown input"),
        (whole("a_b", "c"), [one("a_b"), one("a-b")], "two tensors"),
    ],
)
def test_a_name_that_may_mean_two_columns_is_refused(reader: Reader, given: list[Tensor], found: str) -> None:
    assert refused(reader, given, to=lambda *args: rows_from(*args, limit=9))[0]["found"] == found


@pytest.mark.parametrize("shape", [[-1], [], [1] * 9, [2**62, 2**62], [2**64]])
def test_a_shape_that_cannot_be_is_refused(shape: list[int]) -> None:
    assert refused("x", "INT8", shape, [1])[0]["field"] == "x"
    assert refused("x", "INT8", shape, b"\x01", to=from_bytes)[0]["field"] == "x"


def test_more_rows_than_allowed_are_refused_before_anything_is_made_of_them() -> None:
    with pytest.raises(RequestError) as caught:
        rows_from(NUMBERS, [from_values("x", "FP64", [2**60, 0], [])], limit=10)

    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("datatype", "values", "row"),
    [
        ("INT8", [1, 2.5], 1),
        ("INT8", [True, 1], 0),
        ("UINT8", [255, 256], 1),
        ("INT64", [1, 2**64], 1),
        ("FP64", [1, 10**400], 1),
        ("FP32", [1.5, "2"], 1),
        ("BOOL", [True, 1], 1),
        ("BYTES", ["a", 1], 1),
    ],
)
def test_an_element_that_belies_the_datatype_is_named(datatype: str, values: list[Any], row: int) -> None:
    (problem,) = refused("x", datatype, [2], values)

    assert (problem["row"], problem["field"]) == (row, "x")
    assert datatype in problem["wanted"]


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x05\0\0\0ab", b"\x01\0\0\0ab", b"\xff\xff\xff\xff", b"\x01\0\0\0\xff", b"\0\0\0\0\0"],
)
def test_texts_whose_lengths_lie_are_refused(data: bytes) -> None:
    assert refused("x", "BYTES", [1], data, to=from_bytes)[0]["field"] == "x"


@given(texts=st.lists(st.text(), max_size=5))
def test_texts_come_back_as_they_went(texts: list[str]) -> None:
    tensor = from_values("x", "BYTES", [len(texts)], texts)

    assert from_bytes("x", "BYTES", [len(texts)], to_bytes(tensor)) == tensor
    assert from_texts("x", "BYTES", [len(texts)], [text.encode() for text in texts]) == tensor


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_numbers_come_back_as_they_went(datatype: str) -> None:
    values = [True, False] if datatype == "BOOL" else [0, 1]
    tensor = from_values("x", datatype, [2], values)

    assert from_bytes("x", datatype, [2], to_bytes(tensor)).values.tolist() == values


def test_half_of_a_float_is_widened() -> None:
    data = b"".join(struct.pack("<f", value)[2:] for value in (1.5, -2.0))

    assert from_bytes("x", "BF16", [2], data).values.tolist() == [1.5, -2.0]

"""Equal rows have one key, and no two others: whatever JSON, Python or a digest might take for the same."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from drivetrain.data.kinds.image import _EXAMPLE, Image, Images
from drivetrain.data.kinds.structure import structure_column
from drivetrain.data.kinds.tensor import Tensor
from drivetrain.data.schema import Column, Roles
from drivetrain.registry.version import Signature, Version
from drivetrain.serving.cache.key import Keys
from drivetrain.serving.requests import Reader
from drivetrain.store.artifact import Artifact
from drivetrain.store.record import now

# What is easily taken for another: true for 1, 1 for 1.0, a number for its text, nothing for not-a-number.
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, 0.5, float("nan"), float("inf"), float("-inf"), "", "1", "1.0", "True",
    "null", "NaN", "é", "e\u0301", 2**53, float(2**53), 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, float(2**63), [], {},
    [None], [[]], "[]", {"": None},
]  # fmt: skip
VALUES = some.recursive(
    some.sampled_from(ODD) | some.text(max_size=2) | some.floats() | some.integers(-(2**63), 2**64 - 1),
    lambda each: some.lists(each, max_size=3) | some.dictionaries(some.sampled_from("ab1"), each, max_size=2),
    max_leaves=5,
)
CHAMPION = Artifact(digest="sha256:1", format="skops", size_bytes=1)


def version(columns: list[Column], *, seen: list[Column] | None = None, **changed: Any) -> Version:
    given: dict[str, Any] = {
        "task": "binary", "label": "late", "classes": [0, 1], "request": columns, "features": seen or columns,
        "roles": Roles(),
    }  # fmt: skip
    signature = Signature(**{**given, **changed.pop("signature", {})})
    return Version(
        **{
            "id": "late@1", "model": "late", "number": 1, "system": "s", "run": "r", "key": "k", "artifact": CHAMPION,
            "signature": signature, "code": "", "created_at": datetime(2026, 1, 1, tzinfo=UTC), **changed,
        }
    )  # fmt: skip


def keys_of(*columns: Column, task: str = "values", **changed: Any) -> Keys:
    made = version(list(columns), signature={"task": task}, **changed)
    return Keys(made, Reader(columns), {})


def canonical(value: Any) -> Any:
    """Return what two values have in common if and only if they are the same, names of an object in any order."""
    if isinstance(value, dict):
        return "object", frozenset((name, canonical(each)) for name, each in value.items())
    if isinstance(value, list):
        return "array", tuple(map(canonical, value))
    return type(value).__name__, repr(value)


@given(VALUES, VALUES)
def test_structures_have_one_key_if_and_only_if_they_are_the_same(first: Any, second: Any) -> None:
    keys = keys_of(structure_column("x", dict[str, Any]))

    assert (keys.of((first,)) == keys.of((second,))) is (canonical(first) == canonical(second))


@pytest.mark.parametrize(
    "column", [structure_column("x", dict[str, Any]), Column(name="x", kind="other", dtype="List")]
)
def test_no_odd_value_has_the_key_of_another(column: Column) -> None:
    keys = keys_of(column)

    found = [keys.of((value,)) for value in ODD]

    assert None not in found
    assert len(set(found)) == len(ODD)


PAIRS = some.one_of(
    [
        some.tuples(some.just(kind), each, each)
        for kind, each in {
            "float": some.none() | some.sampled_from([0.0, -0.0, 1.0, 5e-324]) | some.floats(allow_nan=False),
            "int": some.none() | some.sampled_from([0, 1, 2**53, 2**53 + 1]) | some.integers(-(2**63), 2**63 - 1),
            "str": some.none() | some.sampled_from(["", "1", "\x00", "a\x00", "null"]) | some.text(max_size=3),
            "bool": some.none() | some.booleans(),
            "date": some.none() | some.dates(),
            "datetime": some.none() | some.datetimes(),
        }.items()
    ]
)


@given(PAIRS, some.text(max_size=3), some.text(max_size=3))
def test_plain_columns_have_one_key_if_and_only_if_they_are_the_same(pair: Any, text: str, other: str) -> None:
    kind, first, second = pair
    keys = keys_of(Column(name="a", kind=kind, dtype="x"), Column(name="b", kind="str", dtype="String"))

    is_same = (canonical(first), text) == (canonical(second), other)

    assert (keys.of((first, text)) == keys.of((second, other))) is is_same


def test_what_runs_from_one_value_into_the_next_is_told_apart() -> None:
    text = {"kind": "str", "dtype": "String"}
    keys = keys_of(Column(name="a", **text), Column(name="b", **text))  # type: ignore[arg-type]  # they fit

    assert len({keys.of(("ab", "c")), keys.of(("a", "bc")), keys.of(("", "abc")), keys.of(("abc", ""))}) == 4


def test_a_number_of_32_bits_is_what_the_model_sees_of_it() -> None:
    short, long = (keys_of(Column(name="x", kind="float", dtype=dtype)) for dtype in ("Float32", "Float64"))
    rounded = float(np.float32(0.1))

    assert short.of((0.1,)) == short.of((rounded,))
    assert long.of((0.1,)) != long.of((rounded,))
    assert short.of((None,)) != short.of((0.0,))


def test_one_moment_is_one_key_in_a_table_and_two_where_a_model_may_look_at_the_offset() -> None:
    moment = datetime(2026, 1, 31, 9, tzinfo=UTC)
    other = moment.astimezone(timezone(timedelta(hours=2)))

    class Visit(msgspec.Struct):
        at: datetime

    table = keys_of(Column(name="x", kind="datetime", dtype="Datetime(time_zone='UTC')"), task="binary")
    custom = keys_of(structure_column("x", Visit))

    assert table.of((moment,)) == table.of((other,))
    assert custom.of((Visit(moment),)) != custom.of((Visit(other),))


def test_tensors_are_told_apart_by_shape_and_bytes() -> None:
    keys = keys_of(Tensor("float32", (None, None)).column("x"))
    one = np.arange(6, dtype="float32")
    views = [one.reshape(2, 3), np.asfortranarray(one.reshape(2, 3)), np.arange(6.0).reshape(2, 3)]

    assert len({keys.of((each,)) for each in views}) == 1
    assert keys.of((one.reshape(3, 2),)) != keys.of((one.reshape(2, 3),))
    assert keys.of((-0.0 * one.reshape(2, 3),)) != keys.of((0.0 * one.reshape(2, 3),))


def test_texts_of_a_tensor_do_not_run_into_each_other() -> None:
    keys = keys_of(Tensor("str", (None,)).column("x"))

    assert keys.of((np.array(["ab", "c"], object),)) != keys.of((np.array(["a", "bc"], object),))


def test_an_image_is_its_bytes_and_one_at_an_address_has_no_key() -> None:
    pytest.importorskip("PIL")
    column = Images(hosts=("example.com",)).column("photo")
    keys, data = keys_of(column), base64.b64decode(_EXAMPLE)

    assert keys.of((Image.of(data),)) == keys.of((Image.of(data),))
    assert keys.of((Image.of(data),)) is not None
    assert keys.of((Image(None, Images(hosts=("example.com",)), "https://example.com/a.png"),)) is None


@pytest.mark.parametrize("value", [2**64, -(2**70), {"x": [2**64]}, "\ud800", object()])
def test_what_cannot_be_told_has_no_key(value: Any) -> None:
    assert keys_of(structure_column("x", dict[str, Any])).of((value,)) is None


def test_a_column_that_the_model_does_not_see_is_left_out() -> None:
    columns = [Column(name=name, kind="int", dtype="Int64") for name in ("ticket", "stops")]
    plain = version(columns, seen=columns[1:])
    through = version(columns, seen=columns[1:], features="asked")

    assert Keys(plain, Reader(columns), {}).of((1, 5)) == Keys(plain, Reader(columns), {}).of((2, 5))
    assert Keys(through, Reader(columns), {}).of((1, 5)) != Keys(through, Reader(columns), {}).of((2, 5))


def test_an_arm_finds_its_columns_in_rows_that_have_more() -> None:
    column = Column(name="stops", kind="int", dtype="Int64")
    reader = Reader([column])

    alone = Keys(version([column]), reader, {})
    joint = Keys(version([column]), reader, {}, [1])

    assert joint.of((date(2026, 1, 1), 5)) == alone.of((5,))


def test_another_version_or_a_newer_table_beside_it_has_other_keys() -> None:
    column = Column(name="stops", kind="int", dtype="Int64")
    old, new = (msgspec.structs.replace(CHAMPION, digest=f"sha256:{number}") for number in (2, 3))
    first = version([column], features="asked", side_inputs={"cities": old})
    others = [
        Keys(first, Reader([column]), {"cities": new}),
        Keys(msgspec.structs.replace(first, id="late@2"), Reader([column]), {}),
        Keys(msgspec.structs.replace(first, artifact=old), Reader([column]), {}),
        Keys(msgspec.structs.replace(first, created_at=now()), Reader([column]), {}),
    ]
    same = [Keys(first, Reader([column]), side) for side in ({}, {"cities": old}, {"cities": old, "towns": new})]

    assert len({each.of((5,)) for each in same}) == 1
    assert len({each.of((5,)) for each in [same[0], *others]}) == 5

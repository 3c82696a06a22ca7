"""What a version gives, as tensors."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypedDict

import msgspec
import pytest
from tests.serving.world import signature

from drivetrain.data.kinds.structure import structure_column
from drivetrain.data.schema import Column
from drivetrain.errors import RequestError
from drivetrain.serving.batching import Reply
from drivetrain.serving.outputs import Outputs
from drivetrain.serving.tensors import Tensor
from drivetrain.training.ready import values_signature


def test_a_version_says_what_it_gives() -> None:
    assert [(each.name, each.datatype, each.shape) for each in Outputs(signature()).described] == [
        ("prediction", "FP64", [-1]),
        ("id", "BYTES", [-1]),
        ("version", "BYTES", [-1]),
    ]


def test_an_output_may_have_the_name_of_our_probabilities() -> None:
    label = Column(name="label", kind="tensor", dtype="int64", form={"shape": []})
    shares = Column(name="probabilities", kind="tensor", dtype="float32", form={"shape": [2]})
    given = [{"label": 1, "probabilities": [0.25, 0.75]}, {"label": 0, "probabilities": [0.5, 0.5]}]
    reply = Reply(["pred-1", "pred-2"], ["iris@1"] * 2, given)

    found = Outputs(values_signature([], [label, shares], label="prediction")).tensors(reply)

    assert found[:2] == [
        Tensor("label", "INT64", [2], [1, 0]),
        Tensor("probabilities", "FP32", [2, 2], [0.25, 0.75, 0.5, 0.5]),
    ]


def test_a_reply_gives_the_tensors_that_are_asked_for() -> None:
    reply = Reply(["pred-1", "pred-2"], ["late@1", "late@2"], [0.25, 0.5])

    outputs = Outputs(signature())

    assert [each.name for each in outputs.tensors(reply)] == ["prediction", "id", "version"]
    assert outputs.tensors(reply, ["version", "prediction"]) == [
        Tensor("version", "BYTES", [2], ["late@1", "late@2"]),
        Tensor("prediction", "FP64", [2], [0.25, 0.5]),
    ]
    with pytest.raises(RequestError) as caught:
        outputs.check(["prediction", "predictoin"])
    assert caught.value.status == 422
    assert caught.value.problems[0]["wanted"] == "did you mean prediction?"


class Colour(Enum):
    RED = "red"


class Seen(msgspec.Struct, omit_defaults=True):
    id: str
    count: int
    share: float
    is_new: bool
    boxes: list[float]
    note: str | None
    colour: Colour = Colour.RED
    tries: int = 3
    more: list[int] = []


def of(answer: Any, *predictions: Any, streams: bool = False, nullable: bool = False) -> list[Tensor]:
    """Return the tensors of answers of a type, and see that they are as described."""
    column = structure_column("prediction", answer, nullable=nullable)
    outputs = Outputs(values_signature([], [column], label="prediction", streams=streams))
    rows = len(predictions)
    found = outputs.tensors(Reply(["pred-1"] * rows, ["a@1"] * rows, list(predictions)))
    assert [(each.name, each.datatype, [-1]) for each in found] == [
        (each.name, each.datatype, each.shape) for each in outputs.described
    ]
    return found


def test_each_field_of_a_record_is_an_output() -> None:
    seen = {"id": "a", "count": 2, "share": 1, "is_new": True, "boxes": [0.5], "note": None, "tries": 4, "more": [1]}
    few = {"id": "b", "count": 3, "share": 0.5, "is_new": False, "boxes": [], "note": "so"}

    assert of(Seen, seen, few) == [
        Tensor("id", "BYTES", [2], ["a", "b"]),
        Tensor("count", "INT64", [2], [2, 3]),
        Tensor("share", "FP64", [2], [1.0, 0.5]),
        Tensor("is_new", "BOOL", [2], [True, False]),
        Tensor("boxes", "BYTES", [2], ["[0.5]", "[]"]),
        Tensor("note", "BYTES", [2], ["null", '"so"']),
        Tensor("colour", "BYTES", [2], ["red", "red"]),
        Tensor("tries", "INT64", [2], [4, 3]),
        Tensor("more", "BYTES", [2], ["[1]", "[]"]),
        Tensor("version", "BYTES", [2], ["a@1", "a@1"]),
    ]


def test_an_output_may_have_a_name_that_is_no_identifier() -> None:
    answer = TypedDict("answer", {"output-0": int})

    assert of(answer, {"output-0": 7})[0] == Tensor("output-0", "INT64", [1], [7])


@pytest.mark.parametrize("value", ["seven", None, 7.5])
def test_a_field_that_is_not_as_declared_is_a_failure_of_the_model(value: Any) -> None:
    with pytest.raises(ValueError, match=r"count is .*, and was declared as int"):
        of(Seen, {"id": "a", "count": value, "share": 1.0, "is_new": True, "boxes": [], "note": None})


def test_what_has_no_fields_is_one_output_of_json() -> None:
    assert of(dict[str, int], {"a": 1})[0] == Tensor("prediction", "BYTES", [1], ['{"a":1}'])
    assert of(Seen, None, nullable=True)[0] == Tensor("prediction", "BYTES", [1], ["null"])
    assert of(Seen, [{"count": 1}], streams=True)[0] == Tensor("prediction", "BYTES", [1], ['[{"count":1}]'])

"""What a version gives, as tensors."""

from __future__ import annotations

import pytest
from tests.serving.world import signature

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

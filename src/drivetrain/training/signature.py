"""A signature: what goes into a model and what comes out of it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from drivetrain.data.schema import Column, Roles

# `values` is what a model gives that answers anything else, such as a text, a tensor or a structure.
Task = Literal["binary", "multiclass", "regression", "values"]


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a model and what comes out.

    `request` are the columns that a client sends, `features` those that the model sees, in order. For `binary` the
    prediction is the probability of `classes[1]`. For `values`, `outputs` are what the model gives: one is the
    prediction itself, several are an object. With `streams`, the prediction is the pieces that come one after another,
    each such an output.
    """

    task: Task
    label: str
    classes: list[Any] = []
    request: list[Column]
    features: list[Column]
    roles: Roles
    outputs: list[Column] = []
    streams: bool = False

    @property
    def is_numeric(self) -> bool:
        """Whether each prediction is one number."""
        if self.task == "values":
            return len(self.outputs) == 1 and self.outputs[0].kind in ("int", "float") and not self.streams
        return self.task != "multiclass"

    @property
    def judged_as(self) -> Task:
        """The task by whose metrics live labels judge it: one number is judged as in a regression, and else `values`.

        Of `values` nothing says how far an answer is from the truth, so they are not judged.
        """
        return "regression" if self.task == "values" and self.is_numeric else self.task

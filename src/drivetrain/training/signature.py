"""A signature: what goes into a model and what comes out of it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from drivetrain.data.schema import Column, Roles

Task = Literal["binary", "multiclass", "regression"]


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a model and what comes out.

    `request` are the columns that a client sends, `features` those that the model sees, in order. For `binary` the
    prediction is the probability of `classes[1]`.
    """

    task: Task
    label: str
    classes: list[Any] = []
    request: list[Column]
    features: list[Column]
    roles: Roles

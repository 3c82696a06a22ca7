"""What a called service answers."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Prediction(msgspec.Struct, Generic[T], frozen=True):
    """The answer of a called service to one row: `id` is what its log has, `version` who answered.

    `prediction` is what the service tells as JSON: the probability of a yes-or-no question, a class, a number, or what
    a class of the user's gives. Of a model with several classes, `probabilities` are by the name of each.
    """

    id: str
    version: str
    prediction: T
    probabilities: dict[str, float] | None = None


class Told(msgspec.Struct, frozen=True):
    """The body of an answer to several rows."""

    predictions: list[Prediction[Any]]

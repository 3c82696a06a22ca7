"""What a version answered to some rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import polars as pl


class Called(msgspec.Struct, frozen=True, gc=False):
    """A prediction of another service, by its id, that an answer was made of."""

    service: str
    id: str
    version: str


class Answers(msgspec.Struct, frozen=True):
    """What a version answered to some rows.

    `predictions` are numbers or classes, or any plain JSON, a row each. `probabilities` are there for several classes,
    in the signature's order. `features` are what the model saw, where a features function made it: as a frame, or as
    columns of plain values where the answers were known already. `logged` is what the log keeps of predictions that
    may be large. `calls` are the predictions of other services behind each row's.
    """

    predictions: list[Any]
    probabilities: list[list[float]] | None = None
    features: pl.DataFrame | dict[str, list[Any]] | None = None
    logged: list[Any] | None = None
    calls: list[list[Called]] | None = None

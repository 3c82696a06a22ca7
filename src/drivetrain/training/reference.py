"""The reference of a model version: how its features and predictions were distributed in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from drivetrain.data.profile import Profile, profile_column, profile_table
from drivetrain.training.predict import predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivetrain.training.signature import Signature

# Shares of a bin are then known to a tenth of a percent, and a model of any kind answers so many rows in a second.
PREDICTED_ROWS = 50_000


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What live traffic is compared with: a profile, with bins, of each feature and of the predictions."""

    rows: int
    features: dict[str, Profile]
    prediction: Profile
    quality: dict[str, float] = {}


def reference_of(model: Any, frame: pl.DataFrame, signature: Signature) -> Reference:
    """Return the reference of a model on a table that has its feature columns."""
    names = [column.name for column in signature.features]
    sample = frame.sample(PREDICTED_ROWS, seed=0) if frame.height > PREDICTED_ROWS else frame
    return Reference(
        rows=frame.height,
        features=profile_table(frame.select(names)),
        prediction=profile_column(told(predictions(model, sample, signature), signature)),
    )


def told(found: NDArray[np.float64], signature: Signature) -> pl.Series:
    """Return predictions as a column: numbers, or the likeliest class as text where there are several."""
    if signature.task != "multiclass":
        return pl.Series("prediction", found)
    classes = np.array([str(name) for name in signature.classes], dtype=object)
    return pl.Series("prediction", classes[found.argmax(axis=1)].tolist(), dtype=pl.String)

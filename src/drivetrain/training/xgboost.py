"""Predictions of XGBoost's own boosters; its estimators answer as those of scikit-learn do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.errors import MissingExtra

if TYPE_CHECKING:
    import polars as pl


def predict(booster: Any, x: pl.DataFrame) -> Any:
    """Return what a booster answers to rows of features.

    Raises:
        MissingExtra: XGBoost is not installed.
    """
    try:
        import xgboost
    except ImportError as error:
        raise MissingExtra(library="xgboost", extra="xgboost", purpose="predicting with a booster") from error
    names = x.columns if booster.feature_names is not None else None
    return booster.predict(xgboost.DMatrix(x.to_numpy(), feature_names=names))

"""The proof that a features function gives the same for a row alone, as the server sees it, as among all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import polars.selectors as cs

from drivetrain.data.features import Features, compute
from drivetrain.errors import FeatureSkew, StepFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.data.schema import Roles

# Rows computed one at a time, and rows computed together in another order. With the flights this takes 0.1 s.
ALONE, SHUFFLED = 8, 500
# Sums over other rows may round otherwise; a skew that matters is far larger.
RELATIVE = 1e-9


def check_parity(
    part: Features,
    rows: pl.DataFrame,
    batch: pl.DataFrame,
    side: Mapping[str, Any],
    *,
    settings: Mapping[str, Any],
) -> None:
    """Compute some rows alone and some in another order, as the server would, and compare with the whole batch.

    Raises:
        FeatureSkew: a value differs.
    """
    if rows.is_empty():
        return
    assert part.entity is not None
    roles = part.entity.roles
    # In a request, categories are text.
    rows = rows.with_columns(cs.categorical().cast(pl.String), cs.enum().cast(pl.String))
    random = np.random.default_rng(0)
    alone = np.unique(np.linspace(0, rows.height - 1, ALONE).astype(int))
    shuffled = random.permutation(rows.height)[:SHUFFLED]
    for chosen, manner in [*((np.array([place]), "alone") for place in alone), (shuffled, "in another order")]:
        some = rows[chosen]
        try:
            found = compute(part, some, side, settings=settings)
        except StepFailed as error:
            raise FeatureSkew(step=part.name, cause=f"for rows {manner}, {error.cause}", place=part.place) from error
        except Exception as error:  # whatever the user's function raises for a row alone, the server would meet
            cause = f"for rows {manner}, it raises {type(error).__name__}: {error}"
            raise FeatureSkew(step=part.name, cause=cause, place=part.place) from error
        _compare(part, some, batch[chosen], found, manner, roles)


def _compare(
    part: Features, rows: pl.DataFrame, batch: pl.DataFrame, found: pl.DataFrame, manner: str, roles: Roles
) -> None:
    if found.columns != batch.columns:
        odd = sorted(set(found.columns) ^ set(batch.columns)) or found.columns
        cause = f"for rows {manner}, its columns are others than for all rows: {', '.join(odd[:5])}"
        raise FeatureSkew(step=part.name, cause=cause, place=part.place)
    for name in batch.columns:
        differing = _differing(batch[name], found[name])
        if differing is None:
            continue
        row = f"{roles.key}={rows[roles.key][differing]!r}" if roles.key is not None else f"row {differing} of a sample"
        cause = (
            f"for {row}, the feature {name!r} is {found[name][differing]!r} {manner} "
            f"and {batch[name][differing]!r} among all rows"
        )
        raise FeatureSkew(step=part.name, cause=cause, place=part.place)


def _differing(first: pl.Series, second: pl.Series) -> int | None:
    """Return the place of the first pair that differs, or None; a null and a NaN are both a missing number."""
    numbers = (first.dtype.is_numeric() or first.dtype == pl.Boolean) and (
        second.dtype.is_numeric() or second.dtype == pl.Boolean or second.dtype == pl.Null
    )
    if numbers:
        one, other = (series.cast(pl.Float64).fill_null(float("nan")).to_numpy() for series in (first, second))
        equal = np.isclose(one, other, rtol=RELATIVE, atol=0.0, equal_nan=True)
    elif first.dtype == second.dtype:
        equal = first.eq_missing(second).to_numpy()
    else:
        equal = first.cast(pl.String).eq_missing(second.cast(pl.String)).to_numpy()
    places = np.flatnonzero(~equal)
    return int(places[0]) if places.size else None

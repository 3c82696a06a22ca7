"""The form of a training table: feature columns and, last, the label."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def xy(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Return the features of a training table, all columns but the last, and its label, the last.

    >>> import polars as pl
    >>> x, y = xy(pl.DataFrame({"miles": [200], "late": [True]}))
    >>> x.columns, y.name
    (['miles'], 'late')
    """
    return frame[:, :-1], frame[:, -1]

"""The form of a training table: feature columns and, last, the label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import polars as pl


@overload
def xy(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]: ...
@overload
def xy(frame: Any) -> tuple[Any, Any]: ...
def xy(frame: Any) -> tuple[Any, Any]:
    """Return the features of a training table, all columns but the last, and its label, the last.

    A pandas table is taken apart into pandas.

    >>> import polars as pl
    >>> x, y = xy(pl.DataFrame({"miles": [200], "late": [True]}))
    >>> x.columns, y.name
    (['miles'], 'late')
    """
    taken = frame.iloc if hasattr(frame, "iloc") else frame
    return taken[:, :-1], taken[:, -1]

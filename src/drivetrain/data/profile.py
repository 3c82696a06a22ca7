"""The profile of a table: what each column holds, in figures, and in bins that other data can be compared in."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import polars as pl

from drivetrain.data.schema import Kind, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BINS = 10
CATEGORIES = 20
TOP = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Bins(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bins that any value falls into, and how many rows are in each.

    Of numbers, bin `i` holds what is at least `edges[i - 1]` and less than `edges[i]`, the first and the last one being
    open. Of categories there is one bin each, and one for all others. The last bin is always that of missing values.
    Times are numbers of seconds since 1970.
    """

    kind: Literal["numbers", "categories", "presence"]
    edges: list[float] = []
    categories: list[str] = []
    counts: list[int]

    @property
    def shares(self) -> list[float]:
        """The share of the rows in each bin; they sum to 1."""
        return shares_of(self.counts)

    def labels(self) -> list[str]:
        """Return a word for each bin.

        >>> Bins(kind="numbers", edges=[0.5, 2.0], counts=[1, 1, 1, 0]).labels()
        ['< 0.5', '0.5 – 2', '≥ 2', 'missing']
        """
        if self.kind == "presence":
            return ["present", "missing"]
        if self.kind == "categories":
            return [*self.categories, "other", "missing"]
        if not self.edges:
            return ["any", "missing"]
        shown = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{low} – {high}" for low, high in pairwise(shown)]
        return [f"< {shown[0]}", *between, f"≥ {shown[-1]}", "missing"]


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a column holds. A NaN counts as missing; `low` and `high` are text where the values are no numbers."""

    name: str
    kind: Kind
    dtype: str
    rows: int
    nulls: int
    distinct: int = 0
    low: float | str | None = None
    high: float | str | None = None
    mean: float | None = None
    std: float | None = None
    # The values at `QUANTILES`.
    quantiles: list[float] = []
    # The most frequent values as text, with their number of rows.
    top: list[tuple[str, int]] = []
    bins: Bins


def profile_table(frame: pl.DataFrame) -> dict[str, Profile]:
    """Return the profile of each column.

    >>> profile_table(pl.DataFrame({"miles": [200.0, 2_475.0, None]}))["miles"].mean
    1337.5
    """
    return {series.name: profile_column(series) for series in frame.iter_columns()}


def profile_column(series: pl.Series) -> Profile:
    """Return the profile of one column; its bins hold about equal numbers of rows, or the most frequent categories."""
    kind = kind_of(series.dtype)
    if kind in ("int", "float", "date", "datetime"):
        return _of_numbers(series, kind)
    if kind in ("bool", "str"):
        return _of_categories(series, kind)
    nulls = series.null_count()
    return Profile(
        name=series.name,
        kind=kind,
        dtype=str(series.dtype),
        rows=len(series),
        nulls=nulls,
        bins=Bins(kind="presence", counts=[len(series) - nulls, nulls]),
    )


def counts(series: pl.Series, profile: Profile) -> list[int]:
    """Return how many values of other data fall into each bin of a profile.

    >>> profile = profile_column(pl.Series("origin", ["JFK", "EWR", "JFK"]))
    >>> dict(zip(profile.bins.labels(), counts(pl.Series(["JFK", "BOS", None]), profile), strict=True))
    {'JFK': 1, 'EWR': 0, 'other': 1, 'missing': 1}
    """
    bins = profile.bins
    if bins.kind == "numbers":
        values = _numbers(series)
        found = np.bincount(np.searchsorted(bins.edges, values, side="right"), minlength=len(bins.edges) + 1)
        return [*found.tolist(), len(series) - len(values)]
    nulls = series.null_count()
    if bins.kind == "presence":
        return [len(series) - nulls, nulls]
    rows_of = dict(_value_counts(series).iter_rows())
    known = [rows_of.get(category, 0) for category in bins.categories]
    return [*known, len(series) - nulls - sum(known), nulls]


def shares(series: pl.Series, profile: Profile) -> list[float]:
    """Return the share of other data in each bin of a profile; an empty series gives zeros."""
    return shares_of(counts(series, profile))


def shares_of(rows: Sequence[int]) -> list[float]:
    """Return each number's share of the sum.

    >>> shares_of([1, 3])
    [0.25, 0.75]
    """
    total = sum(rows)
    return [number / total if total else 0.0 for number in rows]


def _of_numbers(series: pl.Series, kind: Kind) -> Profile:
    values = np.sort(_numbers(series))  # (rows that are not missing,), float64
    rows, size = len(series), len(values)
    nulls = rows - size
    known = Profile(
        name=series.name,
        kind=kind,
        dtype=str(series.dtype),
        rows=rows,
        nulls=nulls,
        bins=Bins(kind="numbers", edges=[], counts=[0, nulls]),
    )
    if not size:
        return known
    edges = _edges(values)
    inner = np.searchsorted(values, edges, side="left")
    filled = np.diff(np.concatenate(([0], inner, [size])))
    at = values[np.clip(np.rint(np.array(QUANTILES) * (size - 1)).astype(int), 0, size - 1)]
    is_time = kind in ("date", "datetime")
    # An infinite value is shown among the bounds and quantiles; mean and spread are those of the others.
    finite = values[np.isfinite(values)] if np.isinf(values[[0, -1]]).any() else values
    mean = std = None
    if finite.size and not is_time:
        with np.errstate(over="ignore"):  # numbers near the largest there is have no spread that could be told
            mean, std = _bounded(finite.mean()), _bounded(finite.std())
    return msgspec.structs.replace(
        known,
        distinct=1 + int(np.count_nonzero(values[1:] != values[:-1])),
        low=_moment(values[0]) if is_time else _bounded(values[0]),
        high=_moment(values[-1]) if is_time else _bounded(values[-1]),
        mean=mean,
        std=std,
        quantiles=[_bounded(value) for value in at],
        bins=Bins(kind="numbers", edges=edges, counts=[*filled.tolist(), nulls]),
    )


def _edges(values: NDArray[np.float64]) -> list[float]:
    """Return the inner edges of bins with about equal numbers of the sorted values.

    A value that fills a bin alone gets a bin of its own, so that a column of mostly zeros still tells its other values
    apart.
    """
    size = len(values)
    step = -(-size // BINS)
    edges: list[float] = []
    start = 0
    while True:
        end = start + step
        if end >= size:
            break
        # A step that ends in the lump it began with goes on to the lump's end; any other stops before its last value.
        lump = values[end] == values[start]
        start = int(np.searchsorted(values, values[end], side="right" if lump else "left"))
        if start >= size:
            break
        if np.isfinite(values[start]):
            edges.append(float(values[start]))
    return edges


def _of_categories(series: pl.Series, kind: Kind) -> Profile:
    found = _value_counts(series)
    nulls = series.null_count()
    head = found.sort(by=["rows", "value"], descending=[True, False]).head(CATEGORIES).rows()
    filled = [rows for _, rows in head]
    values = found["value"]
    low, high = (values.min(), values.max()) if found.height else (None, None)
    return Profile(
        name=series.name,
        kind=kind,
        dtype=str(series.dtype),
        rows=len(series),
        nulls=nulls,
        distinct=found.height,
        low=None if low is None else str(low),
        high=None if high is None else str(high),
        top=[(value, rows) for value, rows in head[:TOP]],
        bins=Bins(
            kind="categories",
            categories=[value for value, _ in head],
            counts=[*filled, len(series) - nulls - sum(filled), nulls],
        ),
    )


def _value_counts(series: pl.Series) -> pl.DataFrame:
    """Return each value as text with its number of rows: (value, rows)."""
    found = series.drop_nulls().alias("value").to_frame().group_by("value").len("rows")
    return found.with_columns(pl.col("value").cast(pl.String))


def _numbers(series: pl.Series) -> NDArray[np.float64]:
    """Return the values that are not missing as float64; times as seconds since 1970."""
    present = series.drop_nulls()
    if present.dtype == pl.Date:
        present = present.cast(pl.Datetime("us"))
    if isinstance(present.dtype, pl.Datetime):
        per_second = {"ms": 1e3, "us": 1e6, "ns": 1e9}[present.dtype.time_unit]
        return present.to_physical().cast(pl.Float64).to_numpy() / per_second
    values = present.cast(pl.Float64, strict=False).to_numpy()
    missing = np.isnan(values)
    return values[~missing] if missing.any() else values


def _moment(seconds: Any) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).replace(tzinfo=None).isoformat()


def _bounded(value: Any) -> float:
    """Return a number that JSON can hold: an infinite one becomes the largest there is."""
    return float(np.nan_to_num(value))

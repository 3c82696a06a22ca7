"""How the columns of a table are distributed, as a page shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.schema import Column
from drivetrain.errors import NotFound, StoreError
from drivetrain.ui import words

if TYPE_CHECKING:
    from drivetrain.ui.console import Console


# How many bars a picture has room for.
MOST_BARS, NUMBER_BARS = 16, 18


class ColumnView(msgspec.Struct, frozen=True, kw_only=True):
    """One column: what it is, and how its values lie where a profile was kept."""

    column: Column
    null_share: float | None = None
    distinct: int | None = None
    low: Any = None
    high: Any = None
    mean: float | None = None
    shares: list[float] = []
    labels: list[str] = []


def columns_of(console: Console, detail: dict[str, Any]) -> list[ColumnView]:
    """Return the columns that an artifact's detail tells of, with its profile where there is one."""
    columns = msgspec.convert(detail.get("columns") or [], list[Column])
    profiles: dict[str, dict[str, Any]] = {}
    if detail.get("profile"):
        try:
            # As plain JSON: the class of a profile brings numpy and polars along, which no page needs.
            profiles = console.store.json(detail["profile"])
        except (NotFound, StoreError):
            pass  # the profile was removed from the store; the columns are known without it
    return [_view(column, profiles.get(column.name) or {}) for column in columns]


def _view(column: Column, profile: dict[str, Any]) -> ColumnView:
    rows, bins = profile.get("rows"), profile.get("bins") or {}
    shares, labels = _bars(profile, bins)
    is_number = bins.get("kind") == "numbers"
    return ColumnView(
        column=column,
        null_share=profile["nulls"] / rows if rows else None,
        distinct=profile.get("distinct"),
        low=_bound(profile.get("low")) if is_number else None,
        high=_bound(profile.get("high")) if is_number else None,
        mean=profile.get("mean"),
        shares=shares,
        labels=labels,
    )


def _bound(value: Any) -> Any:
    """Return a bound; of a moment, its day."""
    return value.partition("T")[0] if isinstance(value, str) else value


def _bars(profile: dict[str, Any], bins: dict[str, Any]) -> tuple[list[float], list[str]]:
    """Return the height of each bar, and what it stands for."""
    counts, rows = bins.get("counts") or [], profile.get("rows") or 1
    if bins.get("kind") == "categories":
        if profile.get("distinct") == rows:
            return [], []  # a key: each value stands once, which is no distribution
        names = [*bins.get("categories", []), *(["other"] if counts[-2:-1] != [0] else [])][:MOST_BARS]
        shares = [count / rows for count in counts[: len(names)]]
        return shares, [f"{name}: {words.percent(share)}" for name, share in zip(names, shares, strict=False)]
    quantiles = profile.get("quantiles") or []
    if bins.get("kind") != "numbers" or not quantiles or quantiles[0] >= quantiles[-1]:
        return [], []
    low, high = quantiles[0], quantiles[-1]
    edges = [low, *[min(max(edge, low), high) for edge in bins.get("edges") or []], high]
    width = (high - low) / NUMBER_BARS
    shares = []
    for index in range(NUMBER_BARS):
        start, end = low + index * width, low + (index + 1) * width
        # The kept bins are of about equal rows, not of equal width: each spreads its rows evenly over where it lies.
        spread = sum(
            count / rows * (min(end, right) - max(start, left)) / (right - left)
            for left, right, count in zip(edges, edges[1:], counts, strict=False)
            if right > left and min(end, right) > max(start, left)
        )
        shares.append(spread)
    places = [(low + index * width, low + (index + 1) * width) for index in range(NUMBER_BARS)]
    is_time = isinstance(profile.get("low"), str)
    return shares, [
        f"{_place(start, is_time)} – {_place(end, is_time)}: {words.percent(share)}"
        for (start, end), share in zip(places, shares, strict=True)
    ]


def _place(value: float, is_time: bool) -> str:
    return words.day(datetime.fromtimestamp(value, UTC)) if is_time else words.figure(value)

"""How the columns of a table are distributed, as a page shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.schema import Column
from drivetrain.errors import NotFound, StoreError
from drivetrain.ui import words

if TYPE_CHECKING:
    from drivetrain.ui.console import Console


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
    profiles: dict[str, Any] = {}
    if isinstance(detail.get("profile"), str) and detail["profile"]:
        try:
            found = console.store.json(detail["profile"]).get("columns") or {}
        except (NotFound, StoreError):
            found = {}  # the profile was removed from the store; the columns are known without it
        profiles = {each["name"]: each for each in found} if isinstance(found, list) else found
    return [_view(column, profiles.get(column.name) or {}) for column in columns]


def _view(column: Column, profile: dict[str, Any]) -> ColumnView:
    rows, nulls = profile.get("rows"), profile.get("nulls")
    shares, bins = list(profile.get("shares") or []), list(profile.get("bins") or [])
    return ColumnView(
        column=column,
        null_share=nulls / rows if rows and nulls is not None else None,
        distinct=profile.get("distinct"),
        low=profile.get("min"),
        high=profile.get("max"),
        mean=profile.get("mean"),
        shares=shares,
        labels=_labels(bins, shares),
    )


def _labels(bins: list[Any], shares: list[float]) -> list[str]:
    """Return what each bar stands for: a value, or the stretch between two edges."""
    if len(bins) == len(shares):
        names = [words.figure(name) for name in bins]
    else:
        edges = ["", *bins, ""] if len(bins) == len(shares) - 1 else bins
        names = [f"{words.figure(low)} – {words.figure(high)}" for low, high in zip(edges, edges[1:], strict=False)]
    return [f"{name}: {words.percent(share)}" for name, share in zip(names, shares, strict=False)]

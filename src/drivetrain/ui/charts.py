"""Pictures that the server draws: small ones as SVG, and the data of those that the page's script draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Drift at which the heat is full; 0.1 begins to matter and 0.2 is the usual alarm level.
HOTTEST = 0.3
# The colours of lines beside each other, in the order they are given out.
TONES = ("accent", "second", "third", "good", "warn", "bad")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a chart; `tone` is a colour of the style sheet."""

    label: str
    tone: str
    values: list[float | None]
    is_dashed: bool = False


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """A moment that is marked on a chart, such as a change of version."""

    x: float
    label: str
    tone: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """What the page's script draws: lines over seconds since 1970 or, when `is_time` is false, over a plain count."""

    title: str
    unit: str = ""
    is_time: bool = True
    x: list[float]
    lines: list[Line]
    flags: list[Flag] = []
    starts_at_zero: bool = True
    # Whether a line goes on where it has no value, because the others have points between its own.
    joins_gaps: bool = False


def as_json(value: Any) -> str:
    """Return a value as JSON for an attribute of an element; the template escapes it."""
    return msgspec.json.encode(value).decode()


def bar(share: float, *, tone: str = "accent", start: float = 0.0) -> Markup:
    """Return a bar that fills `share` of its width, from `start` on."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="bar-track" width="100" height="6" rx="3"/>'
        '<rect class="fill-{}" x="{:.2f}" width="{:.2f}" height="6" rx="1.5"/></svg>'
    ).format(tone, min(start, 1) * 100, max(0.6, min(share, 1 - min(start, 1)) * 100) if share > 0 else 0)


def share_bar(share: float) -> Markup:
    """Return a bar that is shared by the champion and, at its end, the challenger."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="fill-accent" width="{:.1f}" height="6"/>'
        '<rect class="fill-second" x="{:.1f}" width="{:.1f}" height="6"/></svg>'
    ).format(max(0, (1 - share) * 100 - 0.5), (1 - share) * 100 + 0.5, max(0, share * 100 - 0.5))


def spark(values: Sequence[float | None], *, tone: str = "accent", width: int = 120, height: int = 32) -> Markup:
    """Return a line without axes, from the earliest value to the latest."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Markup('<svg class="spark" viewBox="0 0 {} {}" aria-hidden="true"></svg>').format(width, height)
    low, high = min(0.0, *known), max(known)
    scale = (height - 4) / ((high - low) or 1)
    step = width / (len(known) - 1)
    points = [f"{index * step:.1f} {height - 2 - (value - low) * scale:.1f}" for index, value in enumerate(known)]
    path = "M" + "L".join(points)
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="area-{}" d="{}L{} {}L0 {}Z"/><path class="line-{}" d="{}"/></svg>'
    ).format(width, height, tone, path, width, height, height, tone, path)


def histogram(shares: Sequence[float], labels: Sequence[str], *, width: int = 160, height: int = 36) -> Markup:
    """Return a bar for each share, with its label as a title."""
    tallest = max(shares, default=0) or 1
    wide = width / max(len(shares), 1)
    bars = Markup("").join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1"><title>{}</title></rect>').format(
            index * wide + 0.5, height - max(1, share / tallest * height), max(1, wide - 1),
            max(1, share / tallest * height), label,
        )
        for index, (share, label) in enumerate(zip(shares, labels, strict=False))
    )  # fmt: skip
    return Markup(
        '<svg class="histogram" viewBox="0 0 {} {}" width="{}" height="{}" role="img" '
        'aria-label="distribution">{}</svg>'
    ).format(width, height, width, height, bars)


def heat(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    flags: Iterable[tuple[int, str]] = (),
) -> Markup:
    """Return a field of cells, `values[row][column]`, the hotter the stronger; a flag marks where a column begins."""
    label, cell, high = 150, max(14.0, min(34.0, 860 / max(len(columns), 1))), 24
    width, height = label + cell * len(columns) + 2, high * len(rows) + 24
    drawn = [_ROW.format(label - 12, down * high + 16, _short(name)) for down, name in enumerate(rows)]
    for down, (name, line) in enumerate(zip(rows, values, strict=True)):
        for across, value in enumerate(line):
            kind, strength = _heat_of(value)
            text = f"{name}, {columns[across]}: " + ("no rows" if value is None else f"{value:.3f}")
            drawn.append(_CELL.format(kind, label + across * cell, down * high, cell - 2, high - 2, strength, text))
    drawn += [_FLAG.format(x := label + across * cell - 1, height - 18, x, text) for across, text in flags]
    every = max(1, round(70 / cell))
    drawn += [
        _COLUMN.format(label + across * cell, height - 6, columns[across]) for across in range(0, len(columns), every)
    ]
    return _HEAT.format(width, height + 8, width, height + 8, Markup("").join(drawn))


_HEAT = Markup(
    '<svg class="heat" viewBox="0 -8 {:.0f} {:.0f}" width="{:.0f}" height="{:.0f}" role="img" '
    'aria-label="Drift of each feature in each window">{}</svg>'
)
_ROW = Markup('<text class="heat-row" x="{}" y="{}">{}</text>')
_COLUMN = Markup('<text class="heat-column" x="{:.1f}" y="{}">{}</text>')
_CELL = Markup(
    '<rect class="{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}" rx="3" fill-opacity="{:.2f}" data-tip="{}"/>'
)
_FLAG = Markup(
    '<path class="heat-flag" d="M{:.1f} -2V{}"/>'
    '<circle class="heat-flag-dot" cx="{:.1f}" cy="-3" r="3.5" data-tip="{}"/>'
)


def _heat_of(value: float | None) -> tuple[str, float]:
    """Return the class of a cell, and how strong its colour is."""
    if value is None:
        return "cell-none", 1.0
    kind = "cell-calm" if value < 0.1 else "cell-warn" if value < 0.2 else "cell-hot"
    return kind, 0.08 + 0.92 * min(value / HOTTEST, 1)


def _short(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + "…"

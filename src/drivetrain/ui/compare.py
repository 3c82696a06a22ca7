"""Runs beside each other, with their curves in one chart for each metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from drivetrain.experiments.comparison import Comparison, Curves, compare
from drivetrain.ui.charts import TONES, Chart, Line

if TYPE_CHECKING:
    from drivetrain.ui.console import Asked, Console


class ComparisonPage(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page about some runs shows; nothing where none is named."""

    comparison: Comparison | None = None
    charts: list[Chart] = []


def comparison(console: Console, asked: Asked) -> ComparisonPage:
    """Return the runs of `runs=a,b` side by side.

    Raises:
        NotFound: there is no such run.
        UsageError: fewer than two are named, or too many.
    """
    names = [name.strip() for name in asked.get("runs", "").split(",") if name.strip()]
    if not names:
        return ComparisonPage()
    found = compare(console.store.ledger, names)
    labels = [side.run.id for side in found.sides]
    return ComparisonPage(comparison=found, charts=[_chart(each, labels) for each in found.curves])


def _chart(curves: Curves, labels: list[str]) -> Chart:
    """Return the curves over each other; those that are equal are one line, which names all of its runs."""
    equal: dict[tuple[tuple[int, float], ...], list[int]] = {}
    for number, line in enumerate(curves.lines):
        equal.setdefault(tuple(line), []).append(number)
    steps = sorted({step for line in curves.lines for step, _ in line})
    return Chart(
        title=curves.name,
        is_time=False,
        starts_at_zero=False,
        joins_gaps=True,
        x=[float(step) for step in steps],
        lines=[
            Line(
                label=labels[first] + (f" (also: {', '.join(labels[each] for each in others)})" if others else ""),
                tone=TONES[first % len(TONES)],
                values=[values.get(step) for step in steps],
                is_dashed=first >= len(TONES),
            )
            for line, (first, *others) in equal.items()
            if (values := dict(line))
        ],
    )

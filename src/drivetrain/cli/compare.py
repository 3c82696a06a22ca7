"""Compare runs side by side: what differs in settings, metrics, data, packages and code, and the curves."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store
from drivetrain.cli.screen import ago, duration
from drivetrain.experiments.comparison import compare

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from drivetrain.cli.screen import Screen
    from drivetrain.experiments.comparison import Comparison, Curves, Table

_TICKS = "▁▂▃▄▅▆▇█"
_WIDTH = 48


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="ids of runs, `latest`, or versions such as lateness@3; 2 to 12 of them"
    )


def execute(options: Namespace, screen: Screen) -> Any:
    store = kept_store(options)
    return compare(store.ledger, options.runs)


def show(result: Comparison, screen: Screen) -> None:
    names = [side.run.id for side in result.sides]
    facts: list[tuple[str, list[str | None]]] = [
        ("state", [side.run.state for side in result.sides]),
        ("started", [ago(side.run.started_at) for side in result.sides]),
        ("took", [duration(side.seconds) if side.seconds is not None else None for side in result.sides]),
        ("reason", [side.run.reason for side in result.sides]),
        ("tags", [", ".join(side.tags) or None for side in result.sides]),
        ("version", [", ".join(side.versions) or None for side in result.sides]),
    ]
    screen.table(("", *names), [(name, *values) for name, values in facts if any(values)])
    _table("settings", result.settings, names, screen)
    _metrics(result.metrics, names, screen)
    _table("data", result.data, names, screen)
    _table("packages", result.packages, names, screen)
    _table("environment", result.environment, names, screen)
    for curves in result.curves:
        _curves(curves, names, screen)
    for change in result.code:
        screen.line()
        if not change.diff:
            screen.line(f"code of {change.name} is another one in {change.run}; its text was not kept")
        for line in change.diff.splitlines():
            screen.line(line, style={"+": "green", "-": "red", "@": "cyan"}.get(line[0], ""))


def _table(title: str, table: Table, names: Sequence[str], screen: Screen) -> None:
    if not table.differing:
        return
    screen.line()
    rows = [(row.name, *(_said(value) for value in row.values)) for row in table.differing]
    screen.table((f"{title} ({table.same} the same)", *names), rows)


def _metrics(table: Table, names: Sequence[str], screen: Screen) -> None:
    """Show the metrics; of two runs also the difference."""
    if not table.differing:
        return
    screen.line()
    is_pair = len(names) == 2
    rows = []
    for row in table.differing:
        first, last = row.values[0], row.values[-1]
        change = [f"{last - first:+.4g}" if None not in (first, last) else None] if is_pair else []
        rows.append((row.name, *row.values, *change))
    heads = (f"metrics ({table.same} the same)", *names, *(["difference"] if is_pair else []))
    screen.table(heads, rows, right=heads[1:])


def _curves(curves: Curves, names: Sequence[str], screen: Screen) -> None:
    """Show the curves of one metric under each other, all on the same scale."""
    known = [value for line in curves.lines for _, value in line if isfinite(value)]
    steps = [step for line in curves.lines for step, _ in line]
    if not known:
        return
    low, high = min(known), max(known)
    screen.line()
    screen.line(f"{curves.name}, {min(steps)} to {max(steps)}, between {low:.4g} and {high:.4g}", style="bold")
    rows = []
    for name, line in zip(names, curves.lines, strict=True):
        rows.append((name, spark(line, min(steps), max(steps), low, high), line[-1][1] if line else None))
    screen.table(("run", "curve", "last"), rows, right=("last",))


def spark(points: Sequence[tuple[int, float]], first: int, last: int, low: float, high: float) -> str:
    """Return a curve as a line of ticks; a step without a point is blank.

    >>> spark([(0, 0.0), (24, 0.5), (47, 1.0)], 0, 47, 0.0, 1.0).split()
    ['▁', '▅', '█']
    """
    cells = [" "] * _WIDTH
    for step, value in points:
        if isfinite(value):
            place = int((step - first) / ((last - first) or 1) * (_WIDTH - 1))
            cells[place] = _TICKS[round((value - low) / ((high - low) or 1) * (len(_TICKS) - 1))]
    return "".join(cells).rstrip()


def _said(value: Any) -> str | None:
    if isinstance(value, dict):  # a dataset
        rows = f"{value['rows']:,} rows, " if value["rows"] is not None else ""
        return f"{rows}{value['digest'].removeprefix('sha256:')[:12]}"
    if isinstance(value, str) and value.startswith("sha256:"):
        return value[7:19]
    return value if value is None else str(value)

"""A figure: one fact of a run that is a single value, as runs are searched and sorted by it."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from drivetrain.store import exact
from drivetrain.store.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivetrain.pipeline.run import Run, StepRun
    from drivetrain.store.ledger import Ledger

FigureKind = Literal["metric", "setting", "rows"]


class Figure(Record, frozen=True, kw_only=True):
    """A metric, a setting or a number of rows, by its full name: `quality.auc`, `lateness.depth`, `train.rows`.

    Of a metric that was logged more than once, `value` is the one at the highest index, and `low` and `high` are the
    least and the greatest that were logged; its points are those of `curve` in the table `point`. A step that did not
    run again keeps the curve of the run that it was taken from. A value that is no number is in `text`, and a NaN is
    no value.
    """

    TABLE: ClassVar[str] = "figure"
    KEY: ClassVar[tuple[str, ...]] = ("run", "kind", "name")
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("name", "kind", "value", "run"), ("curve",))

    run: str
    kind: FigureKind
    name: str
    step: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""
    curve: int | None = None
    # The checksum of the curve's points; of a curve that is not logged in the order of its steps, only at the end.
    curve_sum: int | None = None


def settings_of(run: Run) -> list[Figure]:
    """Return the settings of a run as figures."""
    return [
        Figure(run=run.id, kind="setting", name=f"{part}.{name}", step=part, value=_number(value), text=_text(value))
        for part, values in run.settings.items()
        for name, value in values.items()
    ]


def outcome_of(ledger: Ledger, run: str, steps: Iterable[StepRun]) -> list[Figure]:
    """Return what the steps of a run add to its figures: rows, and the metrics of steps that did not run again."""
    found: dict[tuple[str, str], Figure] = {}
    origins: dict[str, set[str]] = {}
    read = 0
    for step in steps:
        for output, artifact in step.outputs.items():
            if artifact.rows is not None:
                found["rows", f"{output}.rows"] = Figure(
                    run=run, kind="rows", name=f"{output}.rows", step=step.step, value=float(artifact.rows)
                )
                read += artifact.rows if step.role == "dataset" else 0
        if step.state == "cached":
            origins.setdefault(step.origin, set()).add(step.step)
    if read:
        found["rows", "rows"] = Figure(run=run, kind="rows", name="rows", value=float(read))
    for origin, names in origins.items():
        for figure in ledger.find(Figure, {"run": origin, "kind": "metric"}):
            if figure.step in names:
                found["metric", figure.name] = Figure(
                    run=run, kind="metric", name=figure.name, step=figure.step, value=figure.value, low=figure.low,
                    high=figure.high, curve=figure.curve, curve_sum=figure.curve_sum,
                )  # fmt: skip
    return list(found.values())


def _number(value: Any) -> float | None:
    if not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if isnan(number) else number


def _text(value: Any) -> str:
    """Return a setting as it is compared with text: a number has none, and text is its own."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "" if _number(value) is not None else str(value)
    return value if isinstance(value, str) else exact.encode(value).decode()

"""Runs: the list of them, and each with its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import NotFound
from drivetrain.pipeline.run import Metric, Run, StepRun
from drivetrain.registry.version import Version
from drivetrain.store.record import now
from drivetrain.ui.charts import Chart, Line
from drivetrain.ui.console import PAGE_SIZE
from drivetrain.ui.words import utc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivetrain.ui.console import Asked, Console

# A curve with more points is thinned out before it is sent to the page.
MOST_POINTS = 400
_TONES = ("accent", "second", "third", "good", "warn", "bad")


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the list."""

    run: Run
    seconds: float
    steps: dict[str, int]
    metrics: dict[str, float]


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs, newest first; `older` is the id that the next page stands before."""

    runs: list[RunView]
    state: str
    older: str


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a run and where it lies in the run's time, as shares of the whole."""

    step: StepRun
    starts: float
    share: float
    rows: int | None


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one run."""

    run: Run
    seconds: float
    turns: list[Turn]
    metrics: dict[str, float]
    curves: list[Chart]
    versions: list[Version]
    changed: str


def runs(console: Console, asked: Asked) -> RunList:
    """Return the runs, those `before` an id and in a `state`, with figures of their steps."""
    ledger = console.store.ledger
    state = asked.get("state", "")
    where = {"id <": asked["before"]} if asked.get("before") else {}
    where |= {"state": state} if state else {}
    found = ledger.find(Run, where, order="-id", limit=PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    steps: dict[str, list[StepRun]] = {}
    if shown:
        # One question for the steps of the whole page: ids are in the order of time.
        for step in ledger.find(StepRun, {"run >=": shown[-1].id, "run <=": shown[0].id}):
            steps.setdefault(step.run, []).append(step)
    return RunList(
        runs=[_view(run, steps.get(run.id, [])) for run in shown],
        state=state,
        older=shown[-1].id if len(found) > PAGE_SIZE else "",
    )


def run(console: Console, asked: Asked) -> RunPage:
    """Return one run's page.

    Raises:
        NotFound: no run has that id.
    """
    ledger = console.store.ledger
    found = ledger.get(Run, asked["id"])
    if found is None:
        raise NotFound(kind="run", name=asked["id"], remedy="`drivetrain runs` lists them")
    steps = ledger.find(StepRun, {"run": found.id}, order="started_at", limit=500)
    seconds = _seconds(found)
    points: dict[tuple[str, str], list[Metric]] = {}
    for metric in ledger.find(Metric, {"run": found.id}, limit=50_000):
        points.setdefault((metric.step, metric.name), []).append(metric)
    single = {f"{step}.{name}": values[0].value for (step, name), values in points.items() if len(values) == 1}
    return RunPage(
        run=found,
        seconds=seconds,
        turns=[_turn(step, found, seconds) for step in steps],
        metrics=_metrics(steps) | single,
        curves=_curves({name: values for name, values in points.items() if len(values) > 1}),
        versions=ledger.find(Version, {"run": found.id}, limit=10),
        changed=_changed(console, found),
    )


def _view(run: Run, steps: list[StepRun]) -> RunView:
    states = [step.state for step in steps]
    return RunView(
        run=run,
        seconds=_seconds(run),
        steps={state: states.count(state) for state in dict.fromkeys(states)},
        metrics=_metrics(steps),
    )


def _seconds(run: Run) -> float:
    return (utc(run.finished_at or now()) - utc(run.started_at)).total_seconds()


def _metrics(steps: Iterable[StepRun]) -> dict[str, float]:
    """Return the figures of the run's evaluations, those that were not run again included."""
    return {
        f"{step.step}.{name}": value
        for step in steps
        for artifact in step.outputs.values()
        for name, value in artifact.detail.get("metrics", {}).items()
    }


def _turn(step: StepRun, run: Run, seconds: float) -> Turn:
    whole = seconds or 1.0
    took = (now() - utc(step.started_at)).total_seconds() if step.state == "running" else step.seconds
    rows = [artifact.rows for artifact in step.outputs.values() if artifact.rows is not None]
    starts = (utc(step.started_at) - utc(run.started_at)).total_seconds() / whole
    return Turn(step=step, starts=min(max(starts, 0), 1), share=min(took / whole, 1), rows=sum(rows) if rows else None)


def _curves(points: dict[tuple[str, str], list[Metric]]) -> list[Chart]:
    """Return a chart for each step, with its metrics as lines over the same index."""
    charts = []
    for step in dict.fromkeys(step for step, _ in points):
        lines = {
            name: {each.index: each.value for each in values} for (of, name), values in points.items() if of == step
        }
        indexes = sorted({index for values in lines.values() for index in values})
        indexes = indexes[:: -(-len(indexes) // MOST_POINTS)]
        charts.append(
            Chart(
                title=step,
                is_time=False,
                starts_at_zero=False,
                x=[float(index) for index in indexes],
                lines=[
                    Line(label=name, tone=tone, values=[values.get(index) for index in indexes])
                    for (name, values), tone in zip(lines.items(), _TONES * len(lines), strict=False)
                ],
            )
        )
    return charts


def _changed(console: Console, run: Run) -> str:
    """Return what was not committed when the run started, as far as a page can hold it."""
    if not run.dirty_diff or not console.store.artifacts.has(run.dirty_diff):
        return ""
    return console.store.artifacts.get(run.dirty_diff).decode(errors="replace")[:20_000]

"""Runs: the list of them, and each with its steps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from drivetrain.errors import BadFilter, NotFound
from drivetrain.experiments.query import Name, figures_of, search
from drivetrain.experiments.remark import Note, notes_of, tags_of
from drivetrain.pipeline.approval import Request, open_requests
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.points import points_of
from drivetrain.pipeline.run import Run, RunState, StepRun, StepState
from drivetrain.registry.version import Version
from drivetrain.store.record import now
from drivetrain.ui.attachments import Shown, shown
from drivetrain.ui.charts import TONES, Chart, Line
from drivetrain.ui.console import PAGE_SIZE, leading
from drivetrain.ui.logs import LogView, log_of
from drivetrain.ui.words import utc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivetrain.ui.console import Asked, Console

# A curve with more points is thinned out before it is sent to the page.
MOST_POINTS = 400
MOST_CHARTS = 24
# Steps and items that a page looks at, items of one step that it lists, and failures that it tells in full.
MOST_STEPS, MOST_ITEMS, MOST_FAILURES = 10_000, 200, 5
_FIRST = {"failed": 0, "interrupted": 1, "running": 2, "finished": 3}
# A list in another order than that of time has no pages.
MOST_SORTED = 100
NEWEST = "-started"


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the list."""

    run: Run
    seconds: float
    steps: dict[str, int]
    metrics: dict[str, float]
    tags: list[str]
    # The figures that the filter and the order name.
    figures: dict[str, Any]


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs; `older` is the id that the next page stands before.

    `error` says what is wrong with the filter, pointing at the place, and `remedy` what would be right.
    """

    runs: list[RunView]
    state: str
    filter: str
    sort: str
    columns: list[str]
    # What the list can be sorted by beside its fields.
    metrics: list[str]
    older: str
    error: str = ""
    remedy: str = ""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a run and where it lies in the run's time, as shares of the whole.

    Of a mapped step, `items` are those that matter most, failed ones first, and `states` how many there are of each.
    """

    step: StepRun
    starts: float
    share: float
    rows: int | None
    log: LogView | None = None
    items: list[Turn] = []
    states: dict[str, int] = {}


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one run."""

    run: Run
    seconds: float
    turns: list[Turn]
    # Those that went wrong, items included.
    failures: list[StepRun]
    # What the run waits for.
    asks: list[Request]
    metrics: dict[str, float]
    curves: list[Chart]
    attachments: list[Shown]
    tags: list[str]
    notes: list[Note]
    versions: list[Version]
    changed: str


def runs(console: Console, asked: Asked) -> RunList:
    """Return the runs for which the filter `q` holds, those `before` an id and in a `state`, in the order `sort`."""
    ledger = console.store.ledger
    state, text, sort = asked.get("state", ""), asked.get("q", "").strip(), asked.get("sort") or NEWEST
    state = state if state in get_args(RunState) else ""
    both = [f'state = "{state}"'] * bool(state) + [f"({text})"] * bool(text and state) + [text] * (not state)
    size = PAGE_SIZE if sort == NEWEST else MOST_SORTED
    try:
        found = search(ledger, " and ".join(both), sort=sort, limit=size + 1, before=asked.get("before", ""))
    except BadFilter as error:
        return RunList(
            runs=[], state=state, filter=text, sort=sort, columns=[], metrics=[], older="",
            error=error.message, remedy=error.remedy,
        )  # fmt: skip
    listed = found.runs[:size]
    ids = [run.id for run in listed]
    figures, tags = figures_of(ledger, ids, found.names), tags_of(ledger, *ids)
    steps: dict[str, list[StepRun]] = {run: [] for run in ids}
    for step in ledger.find(StepRun, {"run in": ids}) if ids else ():
        steps[step.run].append(step)
    views = [_view(run, steps[run.id], tags[run.id], figures[run.id]) for run in listed]
    known = dict.fromkeys(name for view in views for name in view.metrics)
    return RunList(
        runs=views,
        state=state,
        filter=text,
        sort=sort,
        columns=[name.shown for name in found.names],
        metrics=[name for name, _ in leading(console, dict.fromkeys(known, 0.0))],
        older=listed[-1].id if len(found.runs) > size and sort == NEWEST else "",
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
    every = ledger.find(StepRun, {"run": found.id}, order="started_at", limit=MOST_STEPS)
    steps = [step for step in every if not step.parent]
    seconds = _seconds(found)
    figures = ledger.find(Figure, {"run": found.id, "kind": "metric"})
    lines = {
        figure: points_of(ledger, figure.curve, most=MOST_POINTS) for figure in figures if figure.curve is not None
    }
    return RunPage(
        run=found,
        seconds=seconds,
        turns=_turns(console, every, found, seconds),
        failures=[step for step in every if step.error and step.state in ("failed", "interrupted")][:MOST_FAILURES],
        asks=[each for each in open_requests(ledger) if each.run == found.id] if found.state == "running" else [],
        metrics=_metrics(steps) | {each.name: each.value for each in figures if each.value is not None},
        curves=_charts({figure: points for figure, points in lines.items() if len(points) > 1}),
        attachments=shown(console, steps),
        tags=tags_of(ledger, found.id)[found.id],
        notes=notes_of(ledger, found.id),
        versions=ledger.find(Version, {"run": found.id}, limit=10),
        changed=_changed(console, found),
    )


def _view(run: Run, steps: list[StepRun], tags: list[str], figures: dict[Name, Any]) -> RunView:
    states = [step.state for step in steps if not step.parent]
    return RunView(
        run=run,
        seconds=_seconds(run),
        steps={state: states.count(state) for state in dict.fromkeys(states)},
        metrics=_metrics(steps),
        tags=tags,
        figures={name.shown: value for name, value in figures.items()},
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


def _turns(console: Console, steps: list[StepRun], run: Run, seconds: float) -> list[Turn]:
    """Return the steps with their items; a mapped step that is on its way has no record of its own yet."""
    items: dict[str, list[StepRun]] = {}
    for step in steps:
        if step.parent:
            items.setdefault(step.parent, []).append(step)
    wholes = {step.step: step for step in steps if not step.parent}
    for name, members in items.items():
        if name not in wholes:
            has_failed = any(each.state == "failed" for each in members)
            state: StepState = "failed" if has_failed else "running" if run.state == "running" else "interrupted"
            wholes[name] = msgspec.structs.replace(
                members[0],
                step=name,
                state=state,
                reason="",
                parent="",
                seconds=0.0,
                outputs={},
                error="",
                tries=1,
                peak_mib=0.0,
            )
    turns = []
    for name, step in sorted(wholes.items(), key=lambda each: each[1].started_at):
        members = sorted(items.get(name, ()), key=lambda each: _FIRST.get(each.state, len(_FIRST)))
        states = [each.state for each in members]
        turns.append(
            msgspec.structs.replace(
                _turn(step, run, seconds),
                log=log_of(console, step),
                items=[
                    msgspec.structs.replace(_turn(each, run, seconds), log=log_of(console, each, with_text=False))
                    for each in members[:MOST_ITEMS]
                ],
                states={state: states.count(state) for state in dict.fromkeys(states)},
            )
        )
    return turns


def _turn(step: StepRun, run: Run, seconds: float) -> Turn:
    whole = seconds or 1.0
    took = (now() - utc(step.started_at)).total_seconds() if step.state == "running" else step.seconds
    rows = [artifact.rows for artifact in step.outputs.values() if artifact.rows is not None]
    starts = (utc(step.started_at) - utc(run.started_at)).total_seconds() / whole
    return Turn(step=step, starts=min(max(starts, 0), 1), share=min(took / whole, 1), rows=sum(rows) if rows else None)


def _charts(lines: dict[Figure, list[tuple[int, float]]]) -> list[Chart]:
    """Return the curves of a run, those of one kind in one chart: `loss` and `validation_loss` of one step."""
    groups: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for figure, points in lines.items():
        name = figure.name.removeprefix(f"{figure.step}.")
        groups.setdefault((figure.step, re.split(r"[\W_]", name)[-1]), {})[name] = dict(points)
    charts = []
    for (step, kind), named in list(groups.items())[:MOST_CHARTS]:
        steps = sorted({step for points in named.values() for step in points})
        charts.append(
            Chart(
                title=f"{step} {kind}",
                is_time=False,
                starts_at_zero=False,
                joins_gaps=True,
                x=[float(step) for step in steps],
                lines=[
                    Line(label=name, tone=tone, values=[points.get(step) for step in steps])
                    for (name, points), tone in zip(named.items(), TONES * len(named), strict=False)
                ],
            )
        )
    return charts


def _changed(console: Console, run: Run) -> str:
    """Return what was not committed when the run started, as far as a page can hold it."""
    if not run.dirty_diff or not console.store.artifacts.has(run.dirty_diff):
        return ""
    return console.store.artifacts.get(run.dirty_diff).decode(errors="replace")[:20_000]

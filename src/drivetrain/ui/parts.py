"""The system and its parts: what each did last, and what it is made of."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import NotFound
from drivetrain.monitoring.window import Alert, Window
from drivetrain.pipeline.run import StepRun
from drivetrain.store.artifact import Artifact
from drivetrain.system.drawing import Mark
from drivetrain.ui import words
from drivetrain.ui.console import about, counted, is_fresh, last_triggered, recent_signals
from drivetrain.ui.profile import ColumnView, columns_of
from drivetrain.ui.source import source_of

if TYPE_CHECKING:
    from drivetrain.system.part import Part
    from drivetrain.ui.console import Asked, Console

# Enough for the last run of a large system; a part that is not among them is asked for alone.
_RECENT_STEPS = 120


class PartView(msgspec.Struct, frozen=True, kw_only=True):
    """A part in the list: its last turn in a run, when it had one."""

    name: str
    role: str
    about: str
    state: str
    run: str = ""
    at: datetime | None = None
    seconds: float | None = None
    rows: int | None = None
    note: str = ""
    needs: list[str]


class SystemView(msgspec.Struct, frozen=True, kw_only=True):
    """The system, part by part, in an order that can be run."""

    name: str
    about: str
    file: str
    parts: list[PartView]


class PartPage(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one part."""

    part: PartView
    runs: bool
    file: str
    line: int
    source: str
    settings: dict[str, Any]
    declared: dict[str, Any]
    inputs: dict[str, str]
    outputs: list[str]
    takers: list[str]
    artifacts: dict[str, Artifact]
    columns: list[ColumnView]
    roles: dict[str, Any]
    steps: list[StepRun]


def latest_steps(console: Console) -> dict[str, StepRun]:
    """Return what each part did last, by its name."""
    ledger = console.store.ledger
    found: dict[str, StepRun] = {}
    for step in ledger.find(StepRun, order="-run", limit=_RECENT_STEPS):
        found.setdefault(step.step, step)
    for name, part in console.system.parts.items():
        if part.RUNS and name not in found and len(found) >= len(console.system.parts) // 2:
            earlier = ledger.find(StepRun, {"step": name}, order="-started_at", limit=1)
            found |= {step.step: step for step in earlier}
    return found


def system(console: Console, asked: Asked) -> SystemView:
    """Return every part with its last state."""
    steps = latest_steps(console)
    return SystemView(
        name=console.system.name,
        about=about(console),
        file=str(console.project.get("system.file")),
        parts=[_beside(console, _view(console, part, steps.get(name))) for name, part in console.system.parts.items()],
    )


def marks(view: SystemView) -> dict[str, Mark]:
    """Return how each part is marked in the drawing."""
    return {part.name: Mark(state=part.state, caption=caption(part), link=f"/parts/{part.name}") for part in view.parts}


def caption(part: PartView) -> str:
    """Return a few words on what a part did last."""
    if part.note or part.state == "failed":
        return part.note or "failed"
    facts = []
    if part.rows is not None:
        facts.append(f"{words.count(part.rows)} rows")
    if part.seconds:
        facts.append(words.seconds(part.seconds))
    elif part.state == "cached":
        facts.append("unchanged")
    return " · ".join(facts) or ("not run yet" if part.state == "none" else "")


def part(console: Console, asked: Asked) -> PartPage:
    """Return one part's page.

    Raises:
        NotFound: the system has no such part.
    """
    name = asked["name"]
    found = console.system.parts.get(name)
    if found is None:
        raise NotFound(kind="part", name=name, known=list(console.system.parts))
    steps = console.store.ledger.find(StepRun, {"step": name}, order="-started_at", limit=12)
    whole = next((step for step in steps if step.outputs), None)
    artifacts = whole.outputs if whole else {}
    detail: dict[str, Any] = next((artifact.detail for artifact in artifacts.values() if artifact.detail), {})
    producers = console.system.producers
    return PartPage(
        part=_beside(console, _view(console, found, steps[0] if steps else None)),
        runs=found.RUNS,
        file=_relative(console, found),
        line=found.place.line,
        source=source_of(found),
        settings=found.settings(),
        declared=_declared(found),
        inputs={need: producers[need].name for need in console.system.needs[name].values()},
        outputs=list(found.outputs()),
        takers=list(dict.fromkeys(end for start, end in console.system.edges() if start == name)),
        artifacts=artifacts,
        columns=columns_of(console, detail),
        roles=detail.get("roles") or {},
        steps=steps,
    )


def _view(console: Console, part: Part, step: StepRun | None) -> PartView:
    rows = [artifact.rows for artifact in step.outputs.values() if artifact.rows is not None] if step else []
    needs = [console.system.producers[need].name for need in console.system.needs[part.name].values()]
    needs += [other.name for other in part.refers()]
    return PartView(
        name=part.name,
        role=part.ROLE,
        about=part.about,
        state=step.state if step else "none" if part.RUNS else "beside",
        run=step.run if step else "",
        at=step.started_at if step else None,
        seconds=step.seconds if step else None,
        rows=sum(rows) if rows else None,
        needs=list(dict.fromkeys(needs)),
    )


def _beside(console: Console, view: PartView) -> PartView:
    """Return a part that no run executes with what it does now; any other one as it is."""
    ledger = console.store.ledger
    state, note, at = view.state, "", view.at
    if view.role == "service":
        signals = recent_signals(console, view.name, limit=1)
        if signals:
            state, at = "live" if is_fresh(signals[0]) else "idle", signals[0].at
            rate = words.brief(round(signals[0].requests / (signals[0].seconds or 1)))
            note = f"{rate} requests a second" if state == "live" else "not serving"
        if state != "live" and counted(console, view.name).workers_ready:
            state, note = "live", "it answers"
    elif view.role == "monitor":
        windows = ledger.find(Window, {"monitor": view.name}, order="-starts_at", limit=1)
        alerts = ledger.find(Alert, {"monitor": view.name, "cleared_at": None}, limit=20)
        if windows:
            state, at = "warn" if alerts else "good", windows[0].at
            note = f"{len(alerts)} alert{'s' if len(alerts) > 1 else ''} open" if alerts else "all calm"
    elif view.role == "trigger":
        run = last_triggered(console)
        if run is not None:
            state, note, at = "good", run.reason, run.started_at
    return msgspec.structs.replace(view, state=state, note=note, at=at)


def _declared(part: Part) -> dict[str, Any]:
    """Return what a part declares as people would list it."""
    found: dict[str, Any] = {}
    for name, value in part.declared().items():
        if name.startswith("file "):
            found.setdefault("reads", []).append(name.removeprefix("file "))
        elif name == "checks":
            found[name] = [f"{each['check']}{', only warns' if each['severity'] == 'warn' else ''}" for each in value]
        else:
            found[name] = value
    return {name: value for name, value in found.items() if value not in ("", None, [])}


def _relative(console: Console, part: Part) -> str:
    root = f"{console.project.root}/"
    return (
        part.place.file.removeprefix(root) if part.place.file.startswith(root) else part.place.file.rpartition("/")[2]
    )

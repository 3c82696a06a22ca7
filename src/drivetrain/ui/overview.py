"""The first page: the loop at a glance."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from drivetrain.monitoring.window import Alert, Signal, Window
from drivetrain.pipeline.approval import Request, open_requests
from drivetrain.pipeline.run import StepRun
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Decision, Version
from drivetrain.ui import words
from drivetrain.ui.console import (
    about,
    champion_of,
    counted,
    is_fresh,
    is_watched,
    last_triggered,
    model_names,
    model_of,
    recent_signals,
    service_names,
)
from drivetrain.ui.parts import latest_steps
from drivetrain.ui.timeline import Timeline, timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.ui.console import Asked, Console


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One station of the loop: its state, and what there is to say in two short lines."""

    name: str
    state: str
    headline: str
    detail: str = ""
    at: datetime | None = None
    link: str


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the first page shows."""

    system: str
    about: str
    service: str
    champion: Version | None
    champion_since: datetime | None
    previous: Version | None
    is_live: bool
    is_watched: bool
    signal: Signal | None
    traffic: list[float]
    stages: list[Stage]
    alerts: list[Alert]
    asks: list[Request]
    canary: Rollout | None
    timeline: Timeline


def overview(console: Console, asked: Asked) -> Overview:
    """Return the present state of the whole system."""
    ledger = console.store.ledger
    services = service_names(console)
    service = services[0] if services else ""
    models = model_names(console)
    model = model_of(console, service) if service else (models[0] if models else "")
    champion, change = champion_of(console, model) if model else (None, None)
    signals = recent_signals(console, service, limit=120) if service else []
    alerts = ledger.find(Alert, {"cleared_at": None}, order="-raised_at", limit=20)
    canaries = ledger.find(Rollout, {"service": service, "state": "canary"}, order="-started_at", limit=1)
    signal = signals[-1] if signals else None
    is_serving = is_fresh(signal) or (bool(service) and counted(console, service).workers_ready > 0)
    steps = latest_steps(console)
    return Overview(
        system=console.system.name,
        about=about(console),
        service=service,
        champion=champion,
        champion_since=change.at if change else None,
        previous=ledger.get(Version, change.previous) if change and change.previous else None,
        is_live=is_serving,
        is_watched=bool(console.system.of_role("monitor")),
        signal=signal,
        traffic=[each.requests / (each.seconds or 1) for each in signals],
        stages=[
            _data(console, steps),
            _train(steps, model),
            _gate(console),
            _serve(champion, signal, is_serving=is_serving, is_watched=is_watched(console, service)),
            _watch(console, service, champion, alerts),
            _retrain(console),
        ],
        alerts=alerts,
        asks=open_requests(ledger),
        canary=canaries[0] if canaries else None,
        timeline=timeline(console, asked),
    )


def _data(console: Console, steps: Mapping[str, StepRun]) -> Stage:
    names = [part.name for part in console.system.of_role("dataset")]
    done = [steps[name] for name in names if name in steps]
    if not done:
        hint = (
            f"{len(names)} dataset{'s' if len(names) > 1 else ''} declared" if names else "declare one with @dt.dataset"
        )
        return Stage(name="Data", state="none", headline="Not read yet", detail=hint, link="/system")
    failed = [step for step in done if step.state == "failed"]
    rows = sum(artifact.rows or 0 for step in done for artifact in step.outputs.values())
    return Stage(
        name="Data",
        state="failed" if failed else "good",
        headline=f"{failed[0].step} failed" if failed else f"{words.count(rows)} rows",
        detail=f"in {len(done)} dataset{'s' if len(done) > 1 else ''}",
        at=max(step.started_at for step in done),
        link=f"/parts/{(failed or done)[0].step}",
    )


def _train(steps: Mapping[str, StepRun], model: str) -> Stage:
    step = steps.get(model)
    if step is None:
        return Stage(name="Train", state="none", headline="Not trained yet", detail="drivetrain run", link="/runs")
    headline = {"running": "Training", "failed": "Training failed"}.get(step.state, f"{model} trained")
    took = f"in {words.seconds(step.seconds)}" if step.seconds else "unchanged since"
    state = step.state if step.state in ("running", "failed") else "good"
    return Stage(
        name="Train", state=state, headline=headline, detail=took, at=step.started_at, link=f"/runs/{step.run}"
    )


def _gate(console: Console) -> Stage:
    found = console.store.ledger.find(Decision, order="-at", limit=1)
    if not found:
        return Stage(name="Gate", state="none", headline="Nothing to decide yet", link="/models")
    decision = found[0]
    asked = decision.judgements
    held = f"{sum(judgement.holds for judgement in asked)} of {len(asked)} conditions hold"
    return Stage(
        name="Gate",
        state="good" if decision.passed else "bad",
        headline=f"{decision.version} {'passed' if decision.passed else 'refused'}",
        detail=held if asked else "it asks for nothing",
        at=decision.at,
        link=f"/versions/{decision.version}",
    )


def _serve(champion: Version | None, signal: Signal | None, *, is_serving: bool, is_watched: bool) -> Stage:
    if champion is None:
        return Stage(name="Serve", state="none", headline="No champion yet", link="/live")
    if not is_serving:
        start = "drivetrain up" if is_watched else "drivetrain serve"
        detail, at = ("silent since then", signal.at) if signal else (start, None)
        return Stage(name="Serve", state="idle", headline="Not serving", detail=detail, at=at, link="/live")
    if signal is None or not is_fresh(signal):
        detail = "watched once `drivetrain up` runs" if is_watched else "not watched"
        return Stage(name="Serve", state="live", headline=f"{champion.id} answers", detail=detail, link="/live")
    if not signal.requests:
        detail = f"{champion.id} is ready to answer"
        return Stage(name="Serve", state="live", headline="No requests", detail=detail, at=signal.at, link="/live")
    return Stage(
        name="Serve",
        state="bad" if signal.errors else "live",
        headline=f"{words.brief(signal.requests / (signal.seconds or 1))} requests a second",
        detail=f"p99 {words.figure(signal.latency_p99_ms)} ms",
        at=signal.at,
        link="/live",
    )


def _watch(console: Console, service: str, champion: Version | None, alerts: list[Alert]) -> Stage:
    # A challenger was trained later and drifts less; what counts is what answers.
    where = {"version": champion.id} if champion else {}
    found = console.store.ledger.find(Window, where, order="-starts_at", limit=1)
    if not found and not is_watched(console, service):
        return Stage(name="Watch", state="none", headline="Not watched", detail="declare dt.Monitor(…)", link="/live")
    if not found:
        return Stage(name="Watch", state="none", headline="Nothing seen yet", link="/live")
    window = found[0]
    hottest = max(window.drift, key=lambda name: window.drift[name], default="")
    seen = f"most drift: {hottest} {words.figure(window.drift[hottest])}" if hottest else f"{window.rows} rows"
    headline = f"{len(alerts)} alert{'s' if len(alerts) > 1 else ''} open" if alerts else "All calm"
    return Stage(
        name="Watch", state="warn" if alerts else "good", headline=headline, detail=seen, at=window.at, link="/live"
    )


def _retrain(console: Console) -> Stage:
    run = last_triggered(console)
    triggers = console.system.of_role("trigger")
    if run is None:
        headline = "Waiting" if triggers else "By hand only"
        return Stage(name="Retrain", state="idle" if triggers else "none", headline=headline, link="/runs")
    state = {"running": "running", "failed": "failed"}.get(run.state, "good")
    return Stage(
        name="Retrain",
        state=state,
        headline="Running" if state == "running" else "Ready",
        detail=run.reason,
        at=run.started_at,
        link=f"/runs/{run.id}",
    )

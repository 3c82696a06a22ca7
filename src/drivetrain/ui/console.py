"""What every page looks at: the store, the system and the project; and what several pages ask of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drivetrain.monitoring.window import Signal
from drivetrain.pipeline.run import Run
from drivetrain.registry.version import AliasChange, Version
from drivetrain.security.event import Event
from drivetrain.serving.counters import Totals, totals
from drivetrain.serving.journal import folder_of
from drivetrain.store.record import now
from drivetrain.ui.words import utc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.store.store import Store
    from drivetrain.system.settings import Project
    from drivetrain.system.system import System
    from drivetrain.ui.store import Survey

    # What the address asks for: the names in its path and behind its question mark.
    Asked = Mapping[str, str]

# A service writes its signals every few seconds; one that has been silent for this long is not answering.
SILENT_S = 30.0
PAGE_SIZE = 25


class Console(NamedTuple):
    """One project, looked at."""

    store: Store
    system: System
    project: Project
    survey: Survey


def model_of(console: Console, service: str) -> str:
    """Return the name of the model that a service answers with."""
    part = console.system.parts.get(service)
    model = getattr(part, "model", None)
    if model is not None:
        return str(model.name)
    models = console.system.of_role("model")
    return str(models[0].name) if models else ""


def model_names(console: Console) -> list[str]:
    """Return the models of the system."""
    return [part.name for part in console.system.of_role("model")]


def service_names(console: Console) -> list[str]:
    """Return the services of the system."""
    return [part.name for part in console.system.of_role("service")]


def alias_changes(console: Console, model: str, *, limit: int = 200) -> list[AliasChange]:
    """Return the changes of a model's aliases, the newest first."""
    return console.store.ledger.find(AliasChange, {"model": model}, order="-at", limit=limit)


def champion_of(console: Console, model: str) -> tuple[Version | None, AliasChange | None]:
    """Return the version that is live, and the change that made it so."""
    changes = console.store.ledger.find(AliasChange, {"model": model, "alias": "champion"}, order="-at", limit=1)
    return (console.store.ledger.get(Version, changes[0].version), changes[0]) if changes else (None, None)


def recent_signals(console: Console, service: str, *, limit: int = 180) -> list[Signal]:
    """Return the last signals of a service, the earliest first."""
    return console.store.ledger.find(Signal, {"service": service}, order="-at", limit=limit)[::-1]


def counted(console: Console, service: str) -> Totals:
    """Return what the workers of a service have counted; those on other machines count elsewhere."""
    return totals(folder_of(console.store, service))


def is_fresh(signal: Signal | None) -> bool:
    """Return whether the last signal of a service is as new as that of one which answers now."""
    return signal is not None and (now() - utc(signal.at)).total_seconds() < SILENT_S


def is_watched(console: Console, service: str) -> bool:
    """Return whether the system declares a monitor of a service."""
    return any(monitor.service.name == service for monitor in console.system.of_role("monitor"))


def last_triggered(console: Console) -> Run | None:
    """Return the last run that a trigger started."""
    ledger = console.store.ledger
    for event in ledger.find(Event, {"kind": "run.triggered"}, order="-number", limit=1):
        where = {"started_at >=": event.at, "reason": event.evidence.get("reason", "")}
        for run in ledger.find(Run, where, order="started_at", limit=1):
            return run
    return None


def about(console: Console) -> str:
    """Return the first line that the user's file says about itself."""
    text = (getattr(console.system.module, "__doc__", None) or "").strip()
    return text.splitlines()[0] if text else ""


def leading(console: Console, metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return metrics, those first that a gate asks for."""
    asked = " ".join(
        str(condition) for gate in console.system.of_role("gate") for condition in getattr(gate, "require", ())
    )
    return sorted(metrics.items(), key=lambda metric: (metric[0] not in asked, metric[0]))

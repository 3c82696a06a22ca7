"""From one prediction back to everything that led to it; and finding a page by what somebody has at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from drivetrain.pipeline.run import Run, StepRun
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import AliasChange, Decision, Version
from drivetrain.store.artifact import Artifact
from drivetrain.ui.timeline import link_to

if TYPE_CHECKING:
    from drivetrain.store.store import Store
    from drivetrain.ui.console import Asked, Console


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """The page with the search box."""

    versions: list[Version]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction and, link by link, what it came from."""

    id: str
    # A `Prediction`: what the log of the service holds.
    prediction: Any
    version: Version
    alias: AliasChange | None
    decisions: list[Decision]
    rollout: Rollout | None
    run: Run
    steps: list[StepRun]
    datasets: dict[str, Artifact]


def lookup(console: Console, asked: Asked) -> Lookup:
    """Return what the empty search page shows."""
    return Lookup(versions=console.store.ledger.find(Version, order="-created_at", limit=3))


def explained(store: Store, prediction_id: str) -> Any:
    """Return the lineage of a prediction, as serving knows it.

    Raises:
        NotFound: no such prediction was answered here.
    """
    # Reading the prediction log loads polars, which no other page needs.
    from drivetrain.serving.lineage import explain

    return explain(store, prediction_id)


def prediction(console: Console, asked: Asked) -> Explanation:
    """Return the page of one prediction.

    Raises:
        NotFound: no such prediction was answered here.
    """
    ledger = console.store.ledger
    lineage = explained(console.store, asked["id"])
    version: Version = lineage.version
    changes = ledger.find(AliasChange, {"model": version.model, "version": version.id}, order="-at", limit=1)
    rollouts = ledger.find(Rollout, {"model": version.model, "challenger": version.id}, order="-started_at", limit=1)
    return Explanation(
        id=asked["id"],
        prediction=lineage.prediction,
        version=version,
        alias=changes[0] if changes else None,
        decisions=lineage.decisions,
        rollout=rollouts[0] if rollouts else None,
        run=lineage.run,
        steps=lineage.steps,
        datasets=lineage.datasets,
    )


def address_of(console: Console, text: str) -> str:
    """Return the address of what somebody typed: an id, a version, a part; anything else is taken for a prediction."""
    text = text.strip()
    return quote(link_to(console, text), safe="/@") or f"/predictions/{quote(text, safe='')}"

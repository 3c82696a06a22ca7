"""Models: their versions, what was decided about each, and what was live when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import NotFound
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import AliasChange, Decision, Version
from drivetrain.store.artifact import Artifact
from drivetrain.store.record import now
from drivetrain.training.builds import Builds, builds_of
from drivetrain.ui.console import alias_changes, leading, model_names
from drivetrain.ui.words import utc

if TYPE_CHECKING:
    from drivetrain.ui.console import Asked, Console

MOST_VERSIONS = 60


class Tenure(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time in which an alias pointed at a version; `starts` and `share` of all the time that is shown."""

    change: AliasChange
    until: datetime | None
    starts: float
    share: float


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the list."""

    version: Version
    decision: Decision | None
    rollout: Rollout | None
    aliases: list[str]
    standing: str


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """A model with all its versions, the newest first."""

    name: str
    champion: Version | None
    challenger: Version | None
    metrics: list[str]
    versions: list[VersionView]
    tenures: list[Tenure]
    rollouts: list[Rollout]
    # Whether a service of it gives a new version a share of the requests first.
    has_canary: bool


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The models of the system."""

    models: list[ModelView]


class VersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one version."""

    version: Version
    standing: str
    aliases: list[AliasChange]
    decisions: list[Decision]
    rollouts: list[Rollout]
    run: Run | None
    datasets: dict[str, Artifact]
    against: Version | None
    builds: Builds | None


def models(console: Console, asked: Asked) -> ModelList:
    """Return every model with its versions."""
    return ModelList(models=[_model(console, name) for name in model_names(console)])


def version(console: Console, asked: Asked) -> VersionPage:
    """Return one version's page.

    Raises:
        NotFound: no version has that id.
    """
    ledger = console.store.ledger
    found = ledger.get(Version, asked["id"])
    if found is None:
        raise NotFound(kind="version", name=asked["id"], remedy="`drivetrain models` lists them")
    changes = alias_changes(console, found.model)
    decisions = ledger.find(Decision, {"version": found.id}, order="-at", limit=20)
    rollouts = [each for each in _rollouts(console, found.model) if found.id in (each.champion, each.challenger)]
    champion = _champion_id(changes)
    against = next((each.champion for each in decisions if each.champion not in ("", found.id)), "")
    mine = next((each for each in rollouts if each.challenger == found.id), None)
    return VersionPage(
        version=found,
        standing=_standing(found.id, champion, decisions[0] if decisions else None, mine, changes),
        aliases=[change for change in changes if found.id in (change.version, change.previous)],
        decisions=decisions,
        rollouts=rollouts,
        run=ledger.get(Run, found.run),
        datasets=datasets_of(console, found),
        against=ledger.get(Version, against) if against else None,
        builds=builds_of(found.artifact),
    )


def datasets_of(console: Console, found: Version) -> dict[str, Artifact]:
    """Return the tables that a version was trained on, by name."""
    steps = console.store.ledger.find(StepRun, {"run": found.run}, limit=500)
    return {name: artifact for step in steps if step.role == "dataset" for name, artifact in step.outputs.items()}


def _model(console: Console, name: str) -> ModelView:
    ledger = console.store.ledger
    versions = ledger.find(Version, {"model": name}, order="-number", limit=MOST_VERSIONS)
    decisions: dict[str, Decision] = {}
    for decision in ledger.find(Decision, {"model": name}, order="-at", limit=4 * MOST_VERSIONS):
        # A version that is champion already is judged anew in every run; its first verdict is the one that tells.
        if decision.outcome != "unchanged" or decision.version not in decisions:
            decisions[decision.version] = decision
    changes = alias_changes(console, name)
    rollouts = _rollouts(console, name)
    champion = _champion_id(changes)
    running = next((each.challenger for each in rollouts if each.state == "canary"), "")
    known = {each.id: each for each in versions}
    aliases = _aliases(changes)
    by_challenger: dict[str, Rollout] = {}
    for rollout in rollouts:
        by_challenger.setdefault(rollout.challenger, rollout)
    return ModelView(
        name=name,
        champion=known.get(champion) or (ledger.get(Version, champion) if champion else None),
        challenger=known.get(running),
        metrics=[metric for metric, _ in leading(console, {name: 0.0 for each in versions for name in each.metrics})][
            :4
        ],
        versions=[
            VersionView(
                version=each,
                decision=decisions.get(each.id),
                rollout=by_challenger.get(each.id),
                aliases=[alias for alias, target in aliases.items() if target == each.id],
                standing=_standing(each.id, champion, decisions.get(each.id), by_challenger.get(each.id), changes),
            )
            for each in versions
        ],
        tenures=_tenures([change for change in changes if change.alias == "champion"]),
        rollouts=rollouts[:12],
        has_canary=any(
            service.model.name == name and service.canary is not None for service in console.system.of_role("service")
        ),
    )


def _rollouts(console: Console, model: str) -> list[Rollout]:
    return console.store.ledger.find(Rollout, {"model": model}, order="-started_at", limit=MOST_VERSIONS)


def _aliases(changes: list[AliasChange]) -> dict[str, str]:
    """Return where each alias points; the changes come newest first."""
    found: dict[str, str] = {}
    for change in changes:
        found.setdefault(change.alias, change.version)
    return found


def _champion_id(changes: list[AliasChange]) -> str:
    return _aliases(changes).get("champion", "")


def _standing(
    name: str, champion: str, decision: Decision | None, rollout: Rollout | None, changes: list[AliasChange]
) -> str:
    """Return in one word where a version stands."""
    if name == champion:
        return "champion"
    if rollout is not None and rollout.state != "promoted":
        return rollout.state
    if any(change.alias == "champion" and change.version == name for change in changes):
        return "retired"
    return "refused" if decision is not None and not decision.passed else "registered"


def _tenures(changes: list[AliasChange]) -> list[Tenure]:
    """Return what was live when, the earliest first."""
    if not changes:
        return []
    changes = changes[:24][::-1]
    first, last = utc(changes[0].at), now()
    whole = (last - first).total_seconds() or 1.0
    found = []
    for change, following in zip(changes, [*changes[1:], None], strict=True):
        until = utc(following.at) if following else last
        found.append(
            Tenure(
                change=change,
                until=until if following else None,
                starts=(utc(change.at) - first).total_seconds() / whole,
                share=(until - utc(change.at)).total_seconds() / whole,
            )
        )
    return found

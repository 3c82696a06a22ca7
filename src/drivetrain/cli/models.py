"""List model versions with their figures, what each gate decided and why, and who made which the champion when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import models_of_file, open_store
from drivetrain.cli.screen import ago
from drivetrain.errors import NotFound, UsageError
from drivetrain.registry.registry import champion_of, versions
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import AliasChange, Decision, Judgement
from drivetrain.training.builds import builds_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from datetime import datetime

    from drivetrain.cli.screen import Screen

# So many changes of aliases are printed; `--json` has all.
LATEST = 10
# The metrics that tell most of a model; of one with none of them, the first few of its own.
_TELLING = ("auc", "brier", "log_loss", "accuracy", "rmse", "mae", "r2")
MOST_FIGURES = 3


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="", help="only this model")
    parser.add_argument("--at", metavar="MOMENT", help="say what was live then: 2026-11-23T10:00")
    parser.add_argument("--file", help="only the models that this file declares")


def execute(options: Namespace, screen: Screen) -> Any:
    at = _moment(options.at) if options.at else None
    store = open_store(options)
    if store is None:
        return {"versions": [], "champions": {}, "at": at, "decisions": [], "rollouts": [], "aliases": []}
    ledger = store.ledger
    models = models_of_file(options, {version.model for version in versions(ledger)})
    if options.model and options.model not in models:
        raise NotFound(kind="model", name=options.model, known=models)
    models = [options.model] if options.model else models
    found = [version for version in versions(ledger, options.model) if version.model in models]
    champions = {model: champion_of(ledger, model, at) for model in models}
    of_model = {"model in": models}
    return {
        "versions": found,
        "champions": {model: champion.id for model, champion in champions.items() if champion},
        "at": at,
        "decisions": ledger.find(Decision, of_model, order="-at"),
        "rollouts": ledger.find(Rollout, of_model, order="-started_at"),
        "aliases": ledger.find(AliasChange, of_model | ({"at <=": at} if at else {}), order="-at"),
    }


def show(result: Any, screen: Screen) -> None:
    if not result["versions"]:
        screen.line("Nothing here yet: no model has been trained. Next: `drivetrain run`")
        return
    if result["at"]:
        if not result["champions"]:
            screen.line(f"At {result['at']:%Y-%m-%d %H:%M} no version was live yet")
        for model, champion in result["champions"].items():
            screen.line(f"At {result['at']:%Y-%m-%d %H:%M} {model} was answered by {champion}")
        _show_aliases(result["aliases"], screen)
        return
    champions = set(result["champions"].values())
    rows = []
    for version in result["versions"]:
        decided = [decision for decision in result["decisions"] if decision.version == version.id]
        rollout = next((known for known in result["rollouts"] if known.challenger == version.id), None)
        state = "champion" if version.id in champions else rollout.state if rollout else ""
        why = rollout.reason if rollout and rollout.reason else _spoken(decided[0]) if decided else ""
        measured = {name.rpartition(".")[2]: value for name, value in version.metrics.items() if value is not None}
        told = [name for name in measured if name in _TELLING] or list(measured)[:MOST_FIGURES]
        figures = ", ".join(f"{name} {measured[name]:.4g}" for name in told)
        builds = builds_of(version.artifact)
        original = version.artifact.detail.get("answers_by") or version.artifact.format
        build = builds.ranked()[0].form if builds and builds.ranked() else original
        rows.append((version.id, state, ago(version.created_at), build, figures, why))
    screen.table(("version", "state", "trained", "answers by", "figures", "why"), rows)
    _show_aliases(result["aliases"], screen)


def _show_aliases(changes: list[AliasChange], screen: Screen) -> None:
    """Show which version each alias was pointed at, when, by whom and why, the newest first."""
    if not changes:
        return
    screen.line()
    rows = [
        (change.alias, change.version, change.previous or None, ago(change.at), change.actor, change.reason)
        for change in changes[:LATEST]
    ]
    screen.table(("alias", "now", "before", "moved", "by", "reason"), rows)
    if len(changes) > LATEST:
        screen.line(f"and {len(changes) - LATEST} earlier; `drivetrain models --json` lists all", style="dim")


def _spoken(decision: Decision) -> str:
    failed = [judgement for judgement in decision.judgements if not judgement.holds]
    if failed:
        return "; ".join(f"{judgement.condition} does not hold ({_figures(judgement)})" for judgement in failed)
    return "; ".join(judgement.condition for judgement in decision.judgements) or "no condition"


def _figures(judgement: Judgement) -> str:
    if judgement.found is None:
        return judgement.note
    return f"{judgement.found:.4g}" + (f" against {judgement.limit:.4g}" if judgement.limit is not None else "")


def _moment(text: str) -> datetime:
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no moment", remedy="write it as 2026-11-23T10:00") from error
    return moment.astimezone()

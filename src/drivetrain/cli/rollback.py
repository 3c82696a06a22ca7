"""Make the champion before the present one champion again; the decision and its reason are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_store
from drivetrain.cli.promote import show
from drivetrain.errors import UsageError
from drivetrain.registry.registry import roll_back, versions
from drivetrain.security.actor import actor

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen

__all__ = ["arguments", "execute", "show"]


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="", help="the model; not needed where there is only one")
    parser.add_argument("--reason", default="by hand", help="why; it is recorded")


def execute(options: Namespace, screen: Screen) -> Any:
    _, store = open_store(options)
    models = sorted({version.model for version in versions(store.ledger)})
    model = options.model or (models[0] if len(models) == 1 else "")
    if not models:
        raise UsageError("no model has been trained yet", remedy="`drivetrain run` first")
    if not model:
        raise UsageError("which model?", remedy=f"name one of {', '.join(models)}")
    return roll_back(store.ledger, model, reason=options.reason, actor=actor())

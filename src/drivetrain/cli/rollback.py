"""Make the champion before the present one champion again; the decision and its reason are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, models_of_file
from drivetrain.cli.promote import show
from drivetrain.errors import NotFound, UsageError
from drivetrain.registry.registry import roll_back, versions
from drivetrain.security.actor import actor

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen

__all__ = ["arguments", "execute", "show"]


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="", help="the model; not needed where there is only one")
    parser.add_argument("--reason", default="by hand", help="why; it is recorded")
    parser.add_argument("--file", help="only the models that this file declares")


def execute(options: Namespace, screen: Screen) -> Any:
    store = kept_store(options)
    models = models_of_file(options, {version.model for version in versions(store.ledger)})
    if not models:
        told = f"no model that has been trained is declared in {options.file}"
        nothing = told if options.file else "Nothing here yet: no model has been trained"
        raise UsageError(nothing, remedy="Next: `drivetrain run`")
    if options.model and options.model not in models:
        raise NotFound(kind="model", name=options.model, known=models)
    if not options.model and len(models) > 1:
        raise UsageError("there are several models", remedy=f"name one of {', '.join(models)}")
    model = options.model or models[0]
    return roll_back(store.ledger, model, reason=options.reason, actor=actor())

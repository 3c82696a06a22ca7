"""Make a version the champion, by hand; the decision and its reason are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store
from drivetrain.errors import Refused
from drivetrain.registry.registry import CHAMPION, champion_of, point_alias, version
from drivetrain.security.actor import actor

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("version", help="the version, such as lateness@3")
    parser.add_argument("--reason", default="by hand", help="why; it is recorded")


def execute(options: Namespace, screen: Screen) -> Any:
    store = kept_store(options)
    chosen = version(store.ledger, options.version)
    champion = champion_of(store.ledger, chosen.model)
    if champion is not None and champion.id == chosen.id:
        raise Refused(
            f"{chosen.id} is the champion already; nothing was changed", remedy="`drivetrain models` lists the others"
        )
    return point_alias(store.ledger, chosen.model, CHAMPION, chosen.id, reason=options.reason, actor=actor())


def show(result: Any, screen: Screen) -> None:
    before = f", after {result.previous}" if result.previous else ""
    screen.line(f"{result.version} is the champion now{before}; a running service takes it up by itself")

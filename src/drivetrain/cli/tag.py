"""Tag a run, so that it is found again: `drivetrain runs "tag = best"`. A tag holds who set it, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store
from drivetrain.experiments.remark import run_named, tag, tags_of
from drivetrain.security.actor import actor

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", help="a run's id, `latest`, or a version such as lateness@3 for the run that trained it")
    parser.add_argument("tags", nargs="+", metavar="TAG", help="one or more tags, such as best or baseline")
    parser.add_argument("--remove", action="store_true", help="take the tags off")


def execute(options: Namespace, screen: Screen) -> Any:
    store = kept_store(options)
    run = run_named(store.ledger, options.run)
    tag(store.ledger, run.id, options.tags, actor=actor(), is_on=not options.remove)
    return {"run": run.id, "tags": tags_of(store.ledger, run.id)[run.id]}


def show(result: Any, screen: Screen) -> None:
    screen.line(f"{result['run']} is tagged {', '.join(result['tags'])}" if result["tags"] else "it has no tag now")

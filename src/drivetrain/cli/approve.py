"""Say yes to what a run asks, so that it goes on; without an argument, list what is asked.

The answer, its reason and who gave it are recorded, and hold for the same thing in later runs too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, open_store
from drivetrain.cli.screen import ago
from drivetrain.pipeline.approval import Request, answer, open_requests
from drivetrain.security.actor import actor

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("request", nargs="?", default="", metavar="NAME|ID", help="the approval's name, or an id")
    parser.add_argument("--reason", default="by hand", help="why; it is recorded")


def execute(options: Namespace, screen: Screen) -> Any:
    if not options.request:
        store = open_store(options)
        return open_requests(store.ledger) if store is not None else []
    store = kept_store(options)
    return answer(store.ledger, options.request, "approved", by=actor(), reason=options.reason)


def show(result: Any, screen: Screen) -> None:
    if isinstance(result, Request):
        screen.line(f"{result.name} was {result.state}: {result.reason}; {result.run} goes on by itself")
        return
    if not result:
        screen.line("Nothing waits for an answer")
        return
    screen.table(
        ("approval", "about", "question", "asked", "run", "id"),
        [(each.name, each.output, each.question, ago(each.asked_at), each.run, each.id) for each in result],
    )
    name = result[0].name
    screen.line(f'Next: `drivetrain approve {name} --reason "…"`, or `drivetrain refuse {name} --reason "…"`')

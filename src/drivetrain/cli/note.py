"""Write a note on a run. Who wrote it and when is kept with it; `drivetrain show RUN` and the console show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store
from drivetrain.experiments.remark import note, run_named
from drivetrain.security.actor import actor

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", help="a run's id, `latest`, or a version such as lateness@3 for the run that trained it")
    parser.add_argument("text", help="what there is to say")


def execute(options: Namespace, screen: Screen) -> Any:
    store = kept_store(options)
    run = run_named(store.ledger, options.run)
    return note(store.ledger, run.id, options.text, actor=actor())


def show(result: Any, screen: Screen) -> None:
    screen.line(f"noted on {result.run}")

"""Score the rows of a file with a version: the same features function and model as the server, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, open_system
from drivetrain.cli.service import chosen_model
from drivetrain.errors import UsageError
from drivetrain.registry.registry import champion_of, version

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--input", required=True, metavar="FILE", help="rows: .parquet, .csv or .ndjson")
    parser.add_argument("--output", required=True, metavar="FILE", help="where the rows go with their predictions")
    parser.add_argument("--version", default="", help="a version such as lateness@3; the champion by default")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    from drivetrain.serving.batch import score_file

    _, system = open_system(options)
    store = kept_store(options)
    ledger = store.ledger
    if options.version:
        chosen = version(ledger, options.version)
    else:
        model = chosen_model(system)
        champion = champion_of(ledger, model)
        if champion is None:
            raise UsageError(f"{model} has no champion yet", remedy="`drivetrain run` trains one")
        chosen = champion
    with screen.busy(f"scoring {options.input} with {chosen.id} …"):
        rows = score_file(store, chosen, Path(options.input), Path(options.output))
    return {"version": chosen.id, "rows": rows, "output": options.output}


def show(result: Any, screen: Screen) -> None:
    screen.line(f"{result['rows']:,} rows scored with {result['version']} into {result['output']}")

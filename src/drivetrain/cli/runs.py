"""List the runs, the newest first; or those for which a filter holds, such as `quality.auc > 0.7 and commit = abc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_store
from drivetrain.cli.screen import ago, duration
from drivetrain.errors import UsageError
from drivetrain.experiments.query import figure_named, figures_of, search
from drivetrain.experiments.remark import tags_of
from drivetrain.pipeline.run import StepRun
from drivetrain.pipeline.runner import mark_interrupted

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("filter", nargs="?", default="", help="a filter, such as `quality.auc > 0.7 and tag = best`")
    parser.add_argument(
        "--sort", default="-started", metavar="NAME", help="a field or figure; with a leading minus, the largest first"
    )
    parser.add_argument("--limit", type=int, default=20, help="how many")
    parser.add_argument("--columns", default="", metavar="NAME,NAME", help="figures to show beside those of the filter")


def rewritten(given: list[str]) -> list[str]:
    """Return the arguments with `--sort -NAME` as one word, which argparse would take for two options."""
    found: list[str] = []
    for word in given:
        if found and found[-1] == "--sort":
            found[-1] = f"--sort={word}"
        else:
            found.append(word)
    return found


def execute(options: Namespace, screen: Screen) -> Any:
    if options.limit < 1:
        raise UsageError(f"--limit is {options.limit}", remedy="give a number from 1 on")
    store = open_store(options)
    if store is None:
        return []
    ledger = store.ledger
    mark_interrupted(ledger)
    found = search(ledger, options.filter, sort=options.sort, limit=options.limit)
    chosen = [figure_named(ledger, each.strip()) for each in options.columns.split(",") if each.strip()]
    names = list(dict.fromkeys([*found.names, *chosen]))
    ids = [run.id for run in found.runs]
    figures, tags = figures_of(ledger, ids, names), tags_of(ledger, *ids)
    return [
        {
            "run": run,
            "steps": ledger.find(StepRun, {"run": run.id}),
            "figures": {name.shown: figures[run.id].get(name) for name in names},
            "tags": tags[run.id],
        }
        for run in found.runs
    ]


def show(result: Any, screen: Screen) -> None:
    if not result:
        screen.line(
            "Nothing here yet: no run is like that. Next: `drivetrain run` makes one, `drivetrain runs` lists all"
        )
        return
    rows = []
    figures = list(result[0]["figures"])
    has_tags = any(found["tags"] for found in result)
    for found in result:
        run, steps = found["run"], found["steps"]
        took = duration((run.finished_at - run.started_at).total_seconds()) if run.finished_at else None
        tags = [", ".join(found["tags"])] if has_tags else []
        rows.append(
            (run.id, run.state, ago(run.started_at), took, *found["figures"].values(), *tags,
             _ran(steps), run.reason, run.commit[:8])
        )  # fmt: skip
    heads = ("run", "state", "started", "took", *figures, *(["tags"] if has_tags else []), "steps run", "reason",
             "commit")  # fmt: skip
    screen.table(heads, rows, right=("took", *figures))


def _ran(steps: list[StepRun]) -> str:
    """Return how many of the steps ran; and of the items of those that are mapped."""
    items = [step for step in steps if step.parent]
    return _share([step for step in steps if not step.parent]) + (f", {_share(items)} items" if items else "")


def _share(steps: list[StepRun]) -> str:
    return f"{sum(step.state == 'finished' for step in steps)} of {len(steps)}"

"""List the runs, the newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_store
from drivetrain.cli.screen import ago, duration
from drivetrain.errors import UsageError
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.pipeline.runner import mark_interrupted

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=20, help="how many")


def execute(options: Namespace, screen: Screen) -> Any:
    if options.limit < 1:
        raise UsageError(f"--limit is {options.limit}", remedy="give a number from 1 on")
    store = open_store(options)
    if store is None:
        return []
    mark_interrupted(store.ledger)
    runs = store.ledger.find(Run, order="-started_at", limit=options.limit)
    return [{"run": run, "steps": store.ledger.find(StepRun, {"run": run.id})} for run in runs]


def show(result: Any, screen: Screen) -> None:
    if not result:
        screen.line("Nothing here yet: nothing has run. Next: `drivetrain run`")
        return
    rows = []
    for found in result:
        run, steps = found["run"], found["steps"]
        took = duration((run.finished_at - run.started_at).total_seconds()) if run.finished_at else None
        ran = sum(step.state == "finished" for step in steps)
        rows.append(
            (run.id, run.state, ago(run.started_at), took, f"{ran} of {len(steps)}", run.reason, run.commit[:8])
        )
    screen.table(("run", "state", "started", "took", "steps run", "reason", "commit"), rows, right=("took",))

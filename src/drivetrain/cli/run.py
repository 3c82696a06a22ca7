"""Run the system, or some of its parts with all that they need. A step whose key is known does not run again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_project
from drivetrain.cli.screen import duration
from drivetrain.errors import UnknownName
from drivetrain.pipeline.engine import Execution
from drivetrain.pipeline.plan import make_plan, parse_settings

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen
    from drivetrain.pipeline.run import StepRun

_SIGNS = {"finished": "✓", "cached": "·", "failed": "✗"}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", metavar="PART", help="run these parts and what they need; all by default")
    parser.add_argument("--set", action="append", default=[], metavar="PART.SETTING=VALUE", help="change a setting")
    parser.add_argument(
        "--force", action="append", default=[], metavar="PART", help="run a step although nothing changed"
    )
    parser.add_argument("--file", help="the system's file, when it is not the project's own")
    parser.add_argument("--reason", default="by hand", help="why this run happens; it is recorded")
    parser.add_argument("--workers", type=int, default=0, help="how many steps run at once")


def execute(options: Namespace, screen: Screen) -> Any:
    opened = open_project(options)
    os.chdir(opened.project.root)
    plan = make_plan(opened.system, targets=options.parts, settings=parse_settings(options.set))
    for name in options.force:
        if name not in opened.system.parts:
            raise UnknownName(kind="part", name=name, known=list(opened.system.parts))
    running: dict[str, None] = {}
    done = 0
    with screen.busy("planning …") as status:

        def observe(step: StepRun) -> None:
            nonlocal done
            if step.state == "running":
                running[step.step] = None
            else:
                running.pop(step.step, None)
                done += 1
                screen.line(_line(step), style="dim" if step.state == "cached" else "")
            status.update(f"{', '.join(running) or '…'}   {done} of {len(plan.steps)}")

        execution = Execution(
            plan,
            store=opened.store,
            root=opened.project.root,
            workers=options.workers or opened.project.get("run.workers"),
            reason=options.reason,
            force=frozenset(options.force),
            observer=observe,
        )
        try:
            run = execution.execute()
        finally:
            for warning in execution.warnings:
                screen.note(f"note: {warning}")
            opened.store.close()
    return {"run": run, "steps": list(execution.steps.values())}


def show(result: Any, screen: Screen) -> None:
    run, steps = result["run"], result["steps"]
    ran = sum(step.state == "finished" for step in steps)
    seconds = (run.finished_at - run.started_at).total_seconds()
    screen.line()
    screen.line(f"{run.id} finished in {duration(seconds)}: {ran} steps run, {len(steps) - ran} unchanged")
    for step in steps:
        for output in step.outputs.values():
            figures = output.detail.get("metrics")
            if figures:
                shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if value is not None)
                screen.line(f"  {step.step}: {shown}")
            if "outcome" in output.detail:
                screen.line(f"  {step.step}: {output.detail['version']} {_OUTCOMES[output.detail['outcome']]}")
    refused = any(output.detail.get("outcome") == "refused" for step in steps for output in step.outputs.values())
    screen.line()
    screen.line(
        "Next: `drivetrain models` shows why it was refused"
        if refused
        else "Next: `drivetrain serve` answers requests, `drivetrain up` watches them too"
        if any(step.role == "gate" for step in steps)
        else "Next: `drivetrain show` draws the system, `drivetrain why PART` says why a part ran"
    )


_OUTCOMES = {
    "promoted": "passed and is the champion",
    "canary": "passed and gets a share of the traffic",
    "refused": "did not pass",
    "unchanged": "is the champion already",
}


def _line(step: StepRun) -> str:
    rows = next((output.rows for output in step.outputs.values() if output.rows is not None), None)
    took = "" if step.state == "cached" else duration(step.seconds)
    shown = f"{rows:,} rows" if rows is not None else ""
    return f"{_SIGNS[step.state]} {step.step:<16} {took:>8}  {shown:>14}   {step.reason}".rstrip()

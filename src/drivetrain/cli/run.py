"""Run the system, or some of its parts with all that they need. A step whose key is known does not run again.

The exit code is 3 when the run finished and a gate refused the version.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from drivetrain.cli.progress import Progress
from drivetrain.cli.project import kept_store, make_store, open_system
from drivetrain.cli.screen import counted, duration
from drivetrain.cli.service import is_choice
from drivetrain.cli.sweep import has_failed, show_sweep, sweep_of
from drivetrain.errors import DrivetrainError, StepFailed, UsageError
from drivetrain.experiments.remark import checked_tags, tag
from drivetrain.pipeline.attempt import file_name, logs_of
from drivetrain.pipeline.engine import Execution
from drivetrain.pipeline.guardian import record_crash
from drivetrain.pipeline.plan import make_plan, parse_settings, steps_matching
from drivetrain.registry.version import REFUSED_EXIT_CODE
from drivetrain.security.actor import actor
from drivetrain.system.settings import find_project

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen
    from drivetrain.pipeline.guardian import Crash
    from drivetrain.pipeline.run import StepRun
    from drivetrain.system.system import System


# What is interrupted goes on from there, by the same command.
GOES_ON = True


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help="run these parts and what they need, all by default; PART+ adds what depends on it; 'raw_*' too",
    )
    parser.add_argument(
        "--except",
        action="append",
        default=[],
        dest="without",
        metavar="PART",
        help="leave out a part and what depends on it; 'raw_*' too",
    )
    parser.add_argument("--set", action="append", default=[], metavar="PART.SETTING=VALUE", help="change a setting")
    parser.add_argument(
        "--force",
        action="append",
        default=[],
        metavar="PART",
        help="run a step although nothing changed; 'raw_*' and items such as 'rows[2013-*]' too",
    )
    parser.add_argument("--no-cache", action="store_true", help="run every step; what they give can be used later")
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="PART.SETTING=VALUE,VALUE",
        help="run each combination of settings, without gates and approvals; may be given again",
    )
    parser.add_argument("--by", default="", metavar="METRIC", help="sort a sweep by this metric, such as quality.auc")
    parser.add_argument("--least", action="store_true", help="the least of that metric is the best")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")
    parser.add_argument("--reason", default="by hand", help="why this run happens; it is recorded")
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="tag the run; may be given again")
    parser.add_argument("--workers", type=int, default=0, help="how many steps run at once")


def execute(options: Namespace, screen: Screen) -> Any:
    project, system = open_system(options)
    os.chdir(project.root)
    if options.by and not options.sweep:
        raise UsageError("--by sorts a sweep, and nothing is swept", remedy="add --sweep part.setting=value,value")
    if options.sweep:
        store = make_store(project)
        return sweep_of(
            options,
            screen,
            system=system,
            store=store,
            root=project.root,
            tags=checked_tags(options.tag),
            workers=options.workers or project.get("run.workers"),
        )
    plan = make_plan(system, targets=options.parts, without=options.without, settings=parse_settings(options.set))
    forced = plan.steps if options.no_cache else steps_matching(plan, options.force)
    tags = checked_tags(options.tag)
    store = make_store(project)
    with screen.bars() as bars:
        execution = Execution(
            plan,
            store=store,
            root=project.root,
            workers=options.workers or project.get("run.workers"),
            reason=options.reason,
            force=frozenset(forced),
            observer=Progress(screen, bars, plan),
        )
        if tags:
            tag(store.ledger, execution.run.id, tags, actor=actor())
        try:
            run = execution.execute()
        except StepFailed as error:
            if (logs_of(store.root, execution.run.id) / file_name(error.step)).exists():
                also = f"`drivetrain logs {shlex.quote(error.step)}` shows what it printed"
                error.remedy = f"{error.remedy}; {also}" if error.remedy else also
            raise
        finally:
            for warning in execution.warnings:
                screen.note(f"note: {warning}")
            store.close()
    steps = list(execution.steps.values())
    return {"run": run, "steps": steps, "warnings": list(execution.warnings), "next": _next(steps, system, options)}


def after_crash(options: Namespace, crash: Crash) -> DrivetrainError | None:
    """Record that the process of this command is gone, and return what it was at."""
    return record_crash(kept_store(options), crash, find_project(profile=options.profile).root)


def show(result: Any, screen: Screen) -> None:
    if "sweep" in result:
        show_sweep(result, screen)
        return
    run, steps = result["run"], result["steps"]
    whole = [step for step in steps if not step.parent]
    ran = sum(step.state == "finished" for step in whole)
    skipped = sum(step.state == "skipped" for step in whole)
    items = sum(step.state == "finished" for step in steps if step.parent)
    told = f"{counted(ran, 'step')} run" + (f" with {counted(items, 'item')}" if items else "")
    told += f", {len(whole) - ran - skipped} unchanged" + (f", {skipped} skipped" if skipped else "")
    seconds = (run.finished_at - run.started_at).total_seconds()
    screen.line()
    screen.line(f"{run.id} finished in {duration(seconds)}: {told}")
    for step in whole:
        for output in step.outputs.values():
            figures = output.detail.get("metrics")
            if figures:
                shown = ", ".join(f"{name} {_figure(value)}" for name, value in figures.items() if value is not None)
                screen.line(f"  {step.step}: {shown}")
            if "outcome" in output.detail:
                screen.line(f"  {step.step}: {output.detail['version']} {_OUTCOMES[output.detail['outcome']]}")
    screen.line()
    screen.line(f"Next: {result['next']}")


def _next(steps: list[StepRun], system: System, options: Namespace) -> str:
    """Return which commands follow this run, as they have to be typed for this system."""
    if _was_refused(steps):
        return "`drivetrain models` shows why it was refused"
    if any(step.role == "gate" and step.state == "finished" for step in steps) and system.of_role("service"):
        words = (" --all" if is_choice(system) else "") + (
            f" --file {shlex.quote(options.file)}" if options.file else ""
        )
        watches = f", `drivetrain up{words}` watches them too" if system.of_role("monitor") else ""
        return f"`drivetrain serve{words}` answers requests{watches}"
    return "`drivetrain show` draws the system, `drivetrain why PART` says why a part ran"


def exit_code(result: Any) -> int:
    """Return 3 where a gate refused: the run finished, and what it made is not to be used.

    Of a sweep, it is 1 where a run failed.
    """
    if "sweep" in result:
        return 1 if has_failed(result) else 0
    return REFUSED_EXIT_CODE if _was_refused(result["steps"]) else 0


def _was_refused(steps: list[StepRun]) -> bool:
    return any(output.detail.get("outcome") == "refused" for step in steps for output in step.outputs.values())


_OUTCOMES = {
    "promoted": "passed and is the champion",
    "canary": "passed and gets a share of the traffic",
    "refused": "did not pass",
    "unchanged": "is the champion already",
}


def _figure(value: float) -> str:
    """Return a figure in four digits, and a count of rows in all of its own.

    >>> _figure(0.727104), _figure(19_337.0)
    ('0.7271', '19,337')
    """
    return f"{value:,.0f}" if float(value).is_integer() and value >= 1000 else f"{value:.4g}"

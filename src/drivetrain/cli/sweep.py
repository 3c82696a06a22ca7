"""How `drivetrain run --sweep` carries out combinations of settings, and shows what came of them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from drivetrain.cli.screen import counted, duration
from drivetrain.errors import UnknownName, UsageError
from drivetrain.experiments.remark import tag
from drivetrain.pipeline.plan import parse_settings
from drivetrain.pipeline.sweep import Trial, named, parse_sweep, plans_of, ranked, sweep
from drivetrain.security.actor import actor
from drivetrain.store.record import new_id
from drivetrain.training.metrics import LESS_IS_BETTER

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from pathlib import Path

    from drivetrain.cli.screen import Screen
    from drivetrain.pipeline.plan import Plan
    from drivetrain.store.store import Store
    from drivetrain.system.system import System

# So many failures are told in full.
MOST_FAILURES = 10
# So many metrics of a trial are columns of the table.
MOST_METRICS = 5


def sweep_of(
    options: Namespace, screen: Screen, *, system: System, store: Store, root: Path, tags: Sequence[str], workers: int
) -> dict[str, Any]:
    """Carry a sweep out, and return its trials with the best first."""
    if options.force or options.no_cache:
        raise UsageError(
            "a sweep forces nothing: what its runs share would run in each of them",
            remedy="force it in a run before, and sweep then",
        )
    combinations = parse_sweep(options.sweep)
    plans = plans_of(
        system,
        combinations,
        targets=options.parts,
        without=options.without,
        settings=parse_settings(options.set),
    )
    _check_metric(options.by, plans[0])
    name = new_id("sweep")
    screen.line(f"{name}: {counted(len(plans), 'run')}", style="bold")
    with screen.bars() as bars:
        done = 0
        bars.show("", 0, len(plans), note=name)

        def began(run: str) -> None:
            tag(store.ledger, run, [name, *tags], actor=actor())

        def ended(trial: Trial) -> None:
            nonlocal done
            done += 1
            screen.line(_line(trial, options.by or _first_metric(plans[0], [trial])))
            bars.show("", done, len(plans), note=name)

        trials = sweep(
            plans,
            combinations,
            store=store,
            root=root,
            reason=options.reason if options.reason != "by hand" else "sweep",
            workers=workers,
            began=began,
            ended=ended,
        )
    by = options.by or _first_metric(plans[0], trials)
    least = options.least or _is_less_better(by, system)
    best = ranked(trials, by, least_first=least)
    return {"sweep": name, "by": by, "least_first": least, "trials": best, "next": _next(options, best, by)}


def show_sweep(result: dict[str, Any], screen: Screen) -> None:
    """Show the table of a sweep."""
    trials: list[Trial] = result["trials"]
    settings = list(trials[0].settings)
    evaluation = result["by"].partition(".")[0]
    metrics = dict.fromkeys([result["by"]] if result["by"] else [])
    metrics |= dict.fromkeys(name for trial in trials for name in trial.metrics if name.partition(".")[0] == evaluation)
    shown = list(metrics)[:MOST_METRICS]
    screen.line()
    screen.table(
        [*settings, *shown, "steps run", "run"],
        [
            (*trial.settings.values(), *(trial.metrics.get(name) for name in shown),
             trial.state if trial.error else f"{trial.ran} of {trial.ran + trial.known}", trial.run)
            for trial in trials
        ],
        right=[*settings, *shown],
    )  # fmt: skip
    failed = [trial for trial in trials if trial.error]
    if failed:
        screen.line()
        screen.line(f"{counted(len(failed), 'run')} failed:", style="red")
        for trial in failed[:MOST_FAILURES]:
            screen.line(f"  {named(trial.settings)}: {trial.error}")
    screen.line()
    screen.line(f'All of them: `drivetrain runs "tag = {result["sweep"]}"`')
    if result["next"]:
        screen.line(f"Next: `{result['next']}`")


def has_failed(result: dict[str, Any]) -> bool:
    """Return whether a run of the sweep failed."""
    return any(trial.error for trial in result["trials"])


def _line(trial: Trial, by: str) -> str:
    sign = "✗" if trial.error else "✓"
    value = trial.metrics.get(by)
    told = trial.error or (f"{by} {value:.4g}" if value is not None else "")
    return f"{sign} {named(trial.settings):<40} {duration(trial.seconds):>8}   {told}".rstrip()


def _check_metric(by: str, plan: Plan) -> None:
    step, _, metric = by.partition(".")
    if not by:
        return
    if not metric or step not in plan.steps:
        raise UnknownName(kind="step with metrics, as in --by quality.auc,", name=step, known=plan.steps)
    part = plan.system.parts[step]
    known = part.metrics() if part.ROLE == "evaluation" else None
    if known is not None and metric not in known:
        raise UnknownName(kind=f"metric of {step!r}", name=metric, known=known)


def _first_metric(plan: Plan, trials: Sequence[Trial]) -> str:
    """Return the first metric of the first evaluation; without one, the first that was logged."""
    evaluations = [name for name in plan.steps if plan.system.parts[name].ROLE == "evaluation"]
    names = list(dict.fromkeys(name for trial in trials for name in trial.metrics))
    first = (name for each in evaluations for name in names if name.partition(".")[0] == each)
    return next(first, names[0] if names else "")


def _is_less_better(by: str, system: System) -> bool:
    """Return whether the least is the best: as a gate has it, or by the metric's name."""
    for gate in system.of_role("gate"):
        for condition in gate.require:
            if condition.name == by:
                return bool(condition.operator.startswith("<"))
    return by.partition(".")[2] in LESS_IS_BETTER


def _next(options: Namespace, best: Sequence[Trial], by: str) -> str:
    """Return the command that runs the best combination in full; empty where none is the best."""
    if best[0].error or best[0].metrics.get(by) is None:
        return ""
    words = ["drivetrain", "run", *options.parts]
    for name in options.without:
        words += ["--except", name]
    if options.file:
        words += ["--file", options.file]
    for text in [*options.set, *(named({name: value}) for name, value in best[0].settings.items())]:
        words += ["--set", text]
    return shlex.join(words)

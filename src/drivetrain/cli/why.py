"""Say why a step would run or not; or, for a prediction or a version, everything that stands behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, open_store, open_system
from drivetrain.cli.screen import ago, counted, duration
from drivetrain.pipeline.plan import make_plan, parse_settings
from drivetrain.pipeline.why import Verdict, explain_all, why

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen
    from drivetrain.registry.version import Decision
    from drivetrain.serving.lineage import Lineage
    from drivetrain.serving.log import Prediction

# More items than this are counted.
MOST_ITEMS = 20
_VERDICTS = {
    "hit": "does not run again",
    "miss": "will run",
    "waits": "may run",
    "always": "runs every time",
}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="?", default="", metavar="STEP|ITEM|PREDICTION|VERSION", help="all steps by default"
    )
    parser.add_argument("--set", action="append", default=[], metavar="PART.SETTING=VALUE", help="as for `run`")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    if options.what.startswith("pred-") or "@" in options.what:
        from drivetrain.registry.registry import version
        from drivetrain.serving.lineage import explain, lineage_of

        store = kept_store(options)
        if options.what.startswith("pred-"):
            return explain(store, options.what)
        return lineage_of(store, version(store.ledger, options.what))
    project, system = open_system(options)
    plan = make_plan(system, settings=parse_settings(options.set))
    kept = open_store(options)
    if options.what:
        return why(options.what, plan, store=kept, root=project.root)
    return list(explain_all(plan, store=kept, root=project.root).values())


def show(result: Any, screen: Screen) -> None:
    if isinstance(result, list):
        rows = [(found.step, _VERDICTS[found.verdict], "; ".join(found.reasons)) for found in result]
        screen.table(("step", "", "why"), rows)
    elif isinstance(result, Verdict):
        _show_verdict(result, screen)
    else:
        _show_lineage(result, screen)


def _show_verdict(found: Verdict, screen: Screen) -> None:
    screen.line(f"{found.step} {_VERDICTS[found.verdict]}", style="bold")
    for reason in found.reasons:
        screen.line(f"  {reason}")
    if found.items:
        screen.line(f"  {counted(len(found.items), 'item')} will run:")
    for label, reasons in list(found.items.items())[:MOST_ITEMS]:
        screen.line(f"    {label:<12} {'; '.join(reasons)}")
    if len(found.items) > MOST_ITEMS:
        screen.line(f"    … and {len(found.items) - MOST_ITEMS:,} more")
    _show_diffs(found.diffs, screen)
    if found.last is not None:
        screen.line()
        last = found.last
        when = f"{ago(last.started_at)}, for {duration(last.seconds)}"
        screen.line(f"It last ran in {last.run}, {when}:", style="dim")
        for reason in found.ran_because:
            screen.line(f"  {reason}", style="dim")
        if found.verdict == "hit":
            _show_diffs(found.ran_diffs, screen)
    for warning in found.warnings:
        screen.note(f"note: {warning}")


def _show_diffs(diffs: list[str], screen: Screen) -> None:
    for diff in diffs:
        screen.line()
        for line in diff.splitlines():
            is_head = line.startswith(("---", "+++"))
            screen.line(f"  {line}", style="dim" if is_head else {"+": "green", "-": "red"}.get(line[:1], "dim"))


def _show_lineage(found: Lineage, screen: Screen) -> None:
    version, run = found.version, found.run
    if found.prediction is not None:
        answer = found.prediction
        screen.line(f"prediction  {answer.id}", style="bold")
        screen.line(
            f"            {answer.prediction} at {answer.at:%Y-%m-%d %H:%M:%S} by {answer.version} ({answer.arm})"
        )
        screen.line(f"  {'label':<9} {_label(answer)}")
        for title, values in (("request", answer.request), ("features", answer.features)):
            if values:
                shown = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
                screen.line(f"  {title:<9} {shown}")
        for each in answer.calls:
            screen.line(f"  {'called':<9} {each.id} of {each.service}, by {each.version}")
        if answer.trace:
            screen.line(f"  {'trace':<9} {answer.trace}")
    screen.line(f"version     {version.id}", style="bold")
    screen.line(f"            trained {ago(version.created_at)}, artifact {version.artifact.digest[:19]}…")
    for name, figure in version.metrics.items():
        screen.line(f"            {name} {figure:.4g}")
    for decision, times in _told_once(found.decisions):
        often = f", the last of {times} times" if times > 1 else ""
        screen.line(f"gate        {decision.gate}: {decision.outcome}{often}", style="bold")
        for judgement in decision.judgements:
            sign = "✓" if judgement.holds else "✗"
            value = "–" if judgement.found is None else f"{judgement.found:.4g}"
            screen.line(f"            {sign} {judgement.condition}: {value} {judgement.note}".rstrip())
    screen.line("data", style="bold")
    for name, artifact in found.datasets.items():
        screen.line(f"            {name}: {artifact.rows:,} rows, {artifact.digest[:19]}…")
    screen.line(f"run         {run.id}", style="bold")
    screen.line(f"            {ago(run.started_at)}, {run.reason}, by {run.actor or 'nobody known'}")
    dirty = " with changes that were not committed" if run.dirty_diff else ""
    screen.line(f"            commit {run.commit[:12] or 'none'}{dirty}")
    for step in found.steps:
        for name, value in step.settings.items():
            screen.line(f"            {step.step}.{name} = {value}")
    packages = ", ".join(f"{name} {value}" for name, value in sorted(run.environment.items()))
    screen.line(f"            {packages}", style="dim")


def _told_once(decisions: list[Decision]) -> list[tuple[Decision, int]]:
    """Return decisions, and how often each was made; of those that confirmed a champion, the last one."""
    again: dict[str, list[Decision]] = {}
    for each in decisions:
        if each.outcome == "unchanged":
            again.setdefault(each.gate, []).append(each)
    changing = [(each, 1) for each in decisions if each.outcome != "unchanged"]
    return changing + [(same[-1], len(same)) for same in again.values()]


def _label(answer: Prediction) -> str:
    """Return what turned out to be true, and how long after the answer that became known."""
    if answer.labelled_at is None:
        return "not yet"
    label = str(answer.label).lower() if isinstance(answer.label, bool) else str(answer.label)
    seconds = (answer.labelled_at - answer.at).total_seconds()
    # A label that names a key may have been there already.
    return f"{label}, " + (f"arrived {duration(seconds)} later" if seconds >= 0 else "known before it was asked")

"""Draw the system in the terminal or as SVG or HTML; or show one run with all of its steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, open_system
from drivetrain.cli.screen import ago, duration, sparkline
from drivetrain.errors import NotFound, UsageError
from drivetrain.pipeline.run import Metric, Run, StepRun
from drivetrain.system.drawing import html, svg, text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="", help="a run's id, or `latest`; without it, the system is drawn")
    parser.add_argument("--output", metavar="FILE", help="write the drawing into a .svg or .html file")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    if options.run:
        return _run(options)
    _, system = open_system(options)
    if options.output:
        writers = {".svg": svg, ".html": html}
        path = Path(options.output)
        if path.suffix not in writers:
            raise UsageError(f"{path.name} is neither .svg nor .html", remedy="choose one of the two endings")
        path.write_text(writers[path.suffix](system), encoding="utf-8")
        return {"written": str(path)}
    return {
        "system": system.name,
        "parts": [{"name": part.name, "role": part.ROLE, "place": str(part.place)} for part in system.parts.values()],
        "edges": system.edges(),
        "drawing": text(system),
    }


def _run(options: Namespace) -> Any:
    store = kept_store(options)
    recent = store.ledger.find(Run, order="-started_at", limit=200)
    chosen = (
        recent[0]
        if options.run == "latest" and recent
        else next((run for run in recent if run.id == options.run), None)
    ) or store.ledger.get(Run, options.run)
    if chosen is None:
        raise NotFound(kind="run", name=options.run, known=[run.id for run in recent])
    steps = store.ledger.find(StepRun, {"run": chosen.id}, order="started_at")
    # A step that did not run again logged its figures in the run that its result is from.
    metrics = [point for step in steps for point in store.ledger.find(Metric, {"run": step.origin, "step": step.step})]
    return {"run": chosen, "steps": steps, "metrics": metrics}


def show(result: Any, screen: Screen) -> None:
    if "written" in result:
        screen.line(f"wrote {result['written']}")
    elif "drawing" in result:
        screen.line(result["drawing"])
    else:
        _show_run(result["run"], result["steps"], screen)
        _show_metrics(result["metrics"], screen)


def _show_run(run: Run, steps: list[StepRun], screen: Screen) -> None:
    took = f" in {duration((run.finished_at - run.started_at).total_seconds())}" if run.finished_at else ""
    screen.line(f"{run.id} {run.state}{took}", style="bold")
    dirty = " and uncommitted changes" if run.dirty_diff else ""
    screen.line(
        f"{ago(run.started_at)}, {run.reason}, by {run.actor or '–'}, commit {run.commit[:12] or '–'}{dirty}",
        style="dim",
    )
    rows = [
        (
            step.step,
            step.state,
            duration(step.seconds) if step.state != "cached" else None,
            next((output.rows for output in step.outputs.values() if output.rows is not None), None),
            f"{step.peak_mib:.0f} MiB" if step.state == "finished" else None,
            step.reason if step.state != "failed" else step.error.splitlines()[0],
        )
        for step in steps
    ]
    screen.table(("step", "state", "took", "rows", "memory", "why"), rows, right=("took", "rows", "memory"))
    for step in steps:
        for warning in step.warnings:
            screen.line(f"! {step.step}: {warning}", style="yellow")
    if run.error:
        screen.line(run.error, style="red")


def _show_metrics(metrics: list[Metric], screen: Screen) -> None:
    """Show what evaluations gave and `dt.log` wrote down: figures with their last value, curves with their shape."""
    curves: dict[tuple[str, str], list[Metric]] = {}
    for point in metrics:
        curves.setdefault((point.step, point.name), []).append(point)
    if not curves:
        return
    rows: list[tuple[Any, ...]] = []
    for (step, name), points in curves.items():
        values = [point.value for point in sorted(points, key=lambda point: point.index)]
        shape = (min(values), max(values), sparkline(values)) if len(values) > 1 else ("", "", "")
        rows.append((step, name, values[-1], *shape))
    columns = ["step", "metric", "last", "least", "most", "curve"]
    if all(len(points) == 1 for points in curves.values()):
        columns, rows = columns[:3], [row[:3] for row in rows]
    screen.line()
    screen.table(columns, rows, right=("last", "least", "most"))

"""Draw the system in the terminal or as SVG or HTML; or show a run with its steps, a version, a job or load test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, open_system
from drivetrain.cli.screen import ago, duration, sparkline
from drivetrain.errors import NotFound, UsageError
from drivetrain.experiments.remark import notes_of, run_named, tags_of
from drivetrain.load.measurement import Measurement
from drivetrain.pipeline.attachment import attachments_of
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.points import points_of
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.registry.registry import versions
from drivetrain.registry.version import Version
from drivetrain.serving.batch.job import BatchJob, BatchPart
from drivetrain.serving.jobs.job import Job
from drivetrain.system.drawing import html, svg, text
from drivetrain.training.builds import MANY, Builds, Pace, builds_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run",
        nargs="?",
        default="",
        help="the id of a run, version, job, batch job or load test, or `latest`; else the system is drawn",
    )
    parser.add_argument("--output", metavar="FILE", help="write the drawing into a .svg or .html file")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    if options.run.startswith("batch-"):
        return _batch(options)
    if options.run.startswith("job-"):
        return _queued(options)
    if options.run.startswith("load-"):
        return _load(options)
    if "@" in options.run:
        return _version(options)
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


def _load(options: Namespace) -> Any:
    from drivetrain.cli.load import result_of

    ledger = kept_store(options).ledger
    kept = ledger.get(Measurement, options.run)
    if kept is None:
        newest = ledger.find(Measurement, order="-at", limit=12)
        raise NotFound(kind="load test", name=options.run, known=[each.id for each in newest])
    return result_of(kept)


def _queued(options: Namespace) -> Any:
    from drivetrain.serving.jobs.status import status_of

    ledger = kept_store(options).ledger
    kept = ledger.get(Job, options.run)
    if kept is None:
        newest = ledger.find(Job, order="-created_at", limit=12)
        raise NotFound(kind="job", name=options.run, known=[each.id for each in newest])
    return {"queued": status_of(kept, kept.base), "service": kept.service}


def _version(options: Namespace) -> Any:
    ledger = kept_store(options).ledger
    found = ledger.get(Version, options.run)
    if found is None:
        raise NotFound(kind="version", name=options.run, known={known.id for known in versions(ledger)})
    builds = builds_of(found.artifact)
    return {"version": found, "builds": builds, "why_build": builds.why if builds else ""}


def _run(options: Namespace) -> Any:
    store = kept_store(options)
    chosen = run_named(store.ledger, options.run)
    steps = store.ledger.find(StepRun, {"run": chosen.id}, order="started_at")
    metrics = store.ledger.find(Figure, {"run": chosen.id, "kind": "metric"})
    return {
        "run": chosen,
        "steps": steps,
        "metrics": metrics,
        "curves": {
            each.name: [value for _, value in points_of(store.ledger, each.curve, most=240)]
            for each in metrics
            if each.curve is not None
        },
        "attachments": attachments_of(store, steps),
        "tags": tags_of(store.ledger, chosen.id)[chosen.id],
        "notes": notes_of(store.ledger, chosen.id),
    }


def _batch(options: Namespace) -> Any:
    from drivetrain.serving.batch.history import jobs_of  # it loads polars, which a drawing does without

    store = kept_store(options)
    jobs = jobs_of(store)
    job = next((each for each in jobs if each.id == options.run), None)
    if job is None:
        raise NotFound(kind="batch job", name=options.run, known=[each.id for each in jobs])
    return {"job": job, "finished_parts": store.ledger.find(BatchPart, {"job": job.id}, order="number")}


def show(result: Any, screen: Screen) -> None:
    if "job" in result:
        _show_batch(result["job"], result["finished_parts"], screen)
    elif "queued" in result:
        _show_queued(result["queued"], result["service"], screen)
    elif "builds" in result:
        _show_version(result["version"], result["builds"], screen)
    elif "written" in result:
        screen.line(f"wrote {result['written']}")
    elif "drawing" in result:
        screen.line(result["drawing"])
    elif "report" in result:
        from drivetrain.cli.load import show as show_load

        screen.line(f"{result['id']}: {result['subject']}, {ago(result['at'])}", style="bold")
        show_load(result, screen)
    else:
        _show_run(result["run"], result["steps"], screen)
        _show_beside(result, screen)


def _show_beside(result: Any, screen: Screen) -> None:
    """Show the metrics and attachments of a run, and what people said about it."""
    metrics: list[Figure] = result["metrics"]
    if metrics:
        screen.line()
        rows: list[tuple[Any, ...]] = []
        for each in metrics:
            curve = result["curves"].get(each.name, [])
            shape = (each.low, each.high, sparkline(curve)) if len(curve) > 1 else ("", "", "")
            rows.append((each.name, each.value, *shape))
        columns = ["metric", "last", "least", "most", "curve"]
        if not any(row[-1] for row in rows):
            columns, rows = columns[:2], [row[:2] for row in rows]
        screen.table(columns, rows, right=("last", "least", "most"))
    if result["attachments"]:
        screen.line()
        rows_attached = [
            (f"{each.step}.{each.name}", each.media_type, f"{each.artifact.size_bytes:,} bytes", each.artifact.digest)
            for each in result["attachments"]
        ]
        screen.table(("attached", "kind", "size", "digest"), rows_attached, right=("size",))
    if result["tags"] or result["notes"]:
        screen.line()
    if result["tags"]:
        screen.line(f"tagged {', '.join(result['tags'])}")
    for note in result["notes"]:
        screen.line(f"{note.text}  ({note.actor}, {ago(note.at)})")


def _show_version(version: Version, builds: Builds | None, screen: Screen) -> None:
    screen.line(version.id, style="bold")
    kept = f"{version.artifact.format}, {version.artifact.size_bytes:,} bytes"
    screen.line(f"trained {ago(version.created_at)} in {version.run}, kept as {kept}", style="dim")
    for name, value in version.metrics.items():
        screen.line(f"  {name} {value:.4g}")
    if builds is None:
        return
    screen.line()
    answering = builds.ranked()[:1]
    rows: list[tuple[Any, ...]] = [("original", *_microseconds(builds.original), "" if answering else "answers")]
    rows += [
        (
            each.form,
            *_microseconds(each.pace),
            f"answers: {each.evidence}" if each in answering else each.reason or each.evidence,
        )
        for each in builds.tried
    ]
    screen.table(("build", "1 row", f"{MANY} rows", "why"), rows, right=("1 row", f"{MANY} rows"))


def _microseconds(pace: Pace | None) -> tuple[str, str]:
    if pace is None:
        return "", ""
    return f"{pace.one_row_s * 1e6:,.0f} µs", f"{pace.many_rows_s * 1e6:,.0f} µs"


def _show_batch(job: BatchJob, parts: list[BatchPart], screen: Screen) -> None:
    screen.line(f"{job.id} {job.state} in {duration(job.seconds)}", style="bold")
    screen.line(f"{ago(job.started_at)}, by {job.actor or '–'}, {job.version}", style="dim")
    screen.line(f"  {job.input} → {job.output}")
    bad = f", {job.rejected:,} could not be ({job.rejects or 'told at the end'})" if job.rejected else ""
    screen.line(f"  {job.parts_done} of {job.parts} parts, {job.rows:,} rows{bad}")
    if parts:
        rows = [(part.number, part.rows, part.rejected, duration(part.seconds), part.sha256[:12]) for part in parts]
        screen.table(("part", "rows", "bad", "took", "SHA-256"), rows, right=("part", "rows", "bad", "took"))
    if job.error:
        screen.line(job.error, style="red")


def _show_queued(job: dict[str, Any], service: str, screen: Screen) -> None:
    took = duration((job["finished_at"] - job["started_at"]).total_seconds()) if _has_run(job) else ""
    screen.line(f"{job['id']} {job['state']}{took and f' in {took}'}", style="bold")
    attempts = f"{job['attempts']} attempt{'' if job['attempts'] == 1 else 's'}"
    screen.line(f"taken in {ago(job['created_at'])} by {service}, {job['version']}, {attempts}", style="dim")
    screen.line(f"  {job['done_rows']:,} of {job['rows']:,} rows")
    if job["expires_at"]:
        screen.line(f"  forgotten after {job['expires_at']:%Y-%m-%d %H:%M} UTC")
    if "result" in job:
        screen.line(f"  its result: GET {job['result']} at the service")
    if callback := job.get("callback"):
        screen.line(f"  {callback['url']}: {callback['state']}")
        for each in callback["attempts"]:
            screen.line(f"    {each['at'][:19].replace('T', ' ')} UTC  {each.get('status') or each['error']}")
    if "error" in job:
        screen.line(job["error"], style="red")
    if job["state"] == "failed":
        screen.line(f"Next: `drivetrain jobs {service} --retry {job['id']}` tries it again")


def _has_run(job: dict[str, Any]) -> bool:
    return bool(job["started_at"] and job["finished_at"])


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

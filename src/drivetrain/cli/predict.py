"""Answer the rows of files, folders, buckets or a table with a version, as the server would, without a server.

An input is a file (Parquet, Arrow IPC, CSV, NDJSON; text also with .gz), a folder, a pattern in quotes, s3://…,
gs://…, sqlite:///FILE?table=NAME, postgresql://HOST/DB?table=NAME, or a dataset of the system; for a model of images, a
folder of images too. The same command goes on where it was stopped.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, open_system
from drivetrain.cli.screen import ago, counted, duration
from drivetrain.cli.service import chosen_model
from drivetrain.errors import UsageError
from drivetrain.registry.registry import champion_of, version, versions
from drivetrain.security.actor import actor
from drivetrain.serving.batch.history import jobs_of
from drivetrain.serving.batch.job import BatchJob, Settings
from drivetrain.serving.batch.run import Batch, Preview, Watch

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Bars, Screen
    from drivetrain.registry.version import Version
    from drivetrain.serving.batch.job import BatchPart
    from drivetrain.serving.batch.plan import Plan
    from drivetrain.store.store import Store


# What is interrupted goes on from there, by the same command.
GOES_ON = True


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--input", default="", metavar="ROWS", help="a file, folder, pattern, bucket, table or dataset")
    parser.add_argument(
        "--output", default="", metavar="FILE", help="a file, or a folder with a file for each part; also in a bucket"
    )
    parser.add_argument("--version", default="", help="a version such as lateness@3; the champion by default")
    parser.add_argument("--columns", metavar="NAME,NAME", help="the columns of the input that the output keeps")
    parser.add_argument("--only-predictions", action="store_true", help="keep no column of the input")
    parser.add_argument(
        "--on-bad-row", choices=("fail", "skip", "keep"), default="fail",
        help="fail, leave such rows out, or keep them without an answer; a file beside the output says why",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=0, help="how many processes; by default one a processor")
    parser.add_argument(
        "--ray", nargs="?", const="local", default="", metavar="ADDRESS", help="work on Ray: a cluster, or here"
    )
    parser.add_argument(
        "--part-rows", type=int, default=0, metavar="ROWS",
        help="about how many rows are finished at once; a million by default, and at most 10,000 of a model of values",
    )  # fmt: skip
    parser.add_argument(
        "--format", default="parquet", choices=("parquet", "ipc", "csv", "tsv", "ndjson"),
        help="of the parts of an output that is a folder",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, help="take only so many rows")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--jobs", action="store_true", help="list the jobs that have been")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    store = kept_store(options)
    if options.jobs:
        return jobs_of(store, limit=options.limit or 20)
    if not options.input or not options.output:
        raise UsageError(
            f"--{'output' if options.input else 'input'} is missing", remedy="--input ROWS --output FILE; or --jobs"
        )
    columns = None if options.columns is None else tuple(each.strip() for each in options.columns.split(","))
    batch = Batch(
        store,
        _version(options, store),
        source=options.input,
        output=options.output,
        settings=Settings(
            columns=() if options.only_predictions else columns,
            on_bad_row=options.on_bad_row,
            limit=options.limit,
            part_rows=options.part_rows,
            format=options.format,
        ),
        workers=options.workers,
        ray=options.ray,
        actor=actor(),
    )
    if options.dry_run:
        return batch.preview()
    with screen.bars() as bars:
        return batch.run(Progress(screen, bars), overwrite=options.overwrite)


def _version(options: Namespace, store: Store) -> Version:
    if options.version:
        return version(store.ledger, options.version)
    known = {each.model for each in versions(store.ledger)}
    if len(known) == 1 and not options.file:
        (model,) = known  # reading the declaration, which imports what trains, would take seconds
    else:
        _, system = open_system(options)
        model = chosen_model(system)
    champion = champion_of(store.ledger, model)
    if champion is None:
        raise UsageError(f"{model} has no champion yet", remedy="`drivetrain run` trains one")
    return champion


class Progress(Watch):
    """Shows a bar with the rows a second; without a terminal, only that a job goes on."""

    def __init__(self, screen: Screen, bars: Bars) -> None:
        self._screen, self._bars = screen, bars
        self._began = time.monotonic()
        self._rows = self._before = self._parts = 0
        self._plan: Plan | None = None

    def begin(self, job: BatchJob, plan: Plan) -> None:
        self._plan, self._parts = plan, job.parts_done
        self._rows = self._before = job.answered + job.rejected
        if job.parts_done:
            self._screen.note(f"{job.id} goes on: {job.parts_done} of {counted(job.parts, 'part')} are finished")
        self._began = time.monotonic()
        self._show()

    def read(self, rows: int) -> None:
        self._rows += rows
        self._show()

    def finish(self, part: BatchPart) -> None:
        self._parts += 1
        self._show()

    def _show(self) -> None:
        assert self._plan is not None
        rate = (self._rows - self._before) / max(time.monotonic() - self._began, 0.001)
        note = f"{rate:,.0f} rows/s"
        if self._plan.rows is None:
            self._bars.show("rows", self._parts, len(self._plan.parts), note=f"parts, {self._rows:,} rows, {note}")
        else:
            self._bars.show("rows", self._rows, self._plan.rows, note=f"rows, {note}")


def show(result: Any, screen: Screen) -> None:
    if isinstance(result, Preview):
        _show_preview(result, screen)
    elif isinstance(result, BatchJob):
        took = f" in {duration(result.seconds)}" if result.seconds >= 0.1 else ""
        screen.line(f"{counted(result.answered, 'row')} answered by {result.version}{took} into {result.output}")
        if result.rejected:
            screen.line(f"! {counted(result.rejected, 'row')} could not be: see {result.rejects}", style="yellow")
    else:
        show_jobs(result, screen)


def show_jobs(jobs: list[BatchJob], screen: Screen) -> None:
    """Show jobs as a table."""
    if not jobs:
        screen.line("Nothing here yet: no batch has been. Next: `drivetrain predict --input … --output …`")
        return
    rows = [
        (job.id, job.state, job.version, ago(job.started_at), duration(job.seconds), job.rows, job.rejected or None,
         f"{job.parts_done} of {job.parts}", job.input, job.output)
        for job in jobs
    ]  # fmt: skip
    heads = ("job", "state", "version", "started", "took", "rows", "bad", "parts", "input", "output")
    screen.table(heads, rows, right=("took", "rows", "bad"))


def _show_preview(found: Preview, screen: Screen) -> None:
    rows = "as many rows as there are" if found.rows is None else counted(found.rows, "row")
    screen.line(f"{found.version} would answer {rows} of {counted(found.files, 'file')} ({found.size_bytes:,} bytes)")
    screen.line(f"  in {counted(found.parts, 'part')}, into {found.output}")
    if found.finished_parts:
        screen.line(f"  {counted(found.finished_parts, 'part')} are finished already")
    if found.is_taken:
        screen.line("! the output is there already: --overwrite would replace it", style="yellow")
    for name, columns in found.missing.items():
        screen.line(f"! {name} lacks {', '.join(columns)}", style="red")

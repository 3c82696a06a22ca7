"""List the jobs of a service, the newest first; cancel some, or try them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, open_system
from drivetrain.cli.screen import ago, duration
from drivetrain.cli.service import chosen_service
from drivetrain.errors import RequestError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", default="", help="which service; not needed where there is only one")
    parser.add_argument("--state", default="", help="only those queued, running, done, failed or cancelled")
    parser.add_argument("--limit", type=int, default=20, help="how many")
    parser.add_argument("--cancel", action="append", default=[], metavar="JOB", help="cancel a job")
    parser.add_argument("--retry", action="append", default=[], metavar="JOB", help="queue a failed job again")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    from drivetrain.serving.jobs.queue import Queue, check_state
    from drivetrain.serving.jobs.status import status_of

    if options.limit < 1:
        raise UsageError(f"--limit is {options.limit}", remedy="give a number from 1 on")
    if options.state:
        check_state(options.state)
    _, system = open_system(options)
    service = chosen_service(system, options.service)
    queue = Queue(kept_store(options), service.name, service.jobs)
    try:
        changed = [*map(queue.cancel, options.cancel), *map(queue.retry, options.retry)]
    except RequestError as error:
        raise UsageError(error.message, remedy="`drivetrain jobs` lists them, each with its state") from error
    found = changed or queue.find(state=options.state, limit=options.limit)
    return [status_of(job, job.base) for job in found]


def show(result: Any, screen: Screen) -> None:
    if not result:
        screen.line("Nothing here yet: no job is like that. Next: `POST /jobs` at a running service takes one in")
        return
    rows = []
    for job in result:
        took = None
        if job["started_at"] and job["finished_at"]:
            took = duration((job["finished_at"] - job["started_at"]).total_seconds())
        done = f"{job['done_rows']:,} of {job['rows']:,}"
        told = (job["version"], job["attempts"], ago(job["created_at"]), took, job.get("error", ""))
        rows.append((job["id"], job["state"], done, *told))
    heads = ("job", "state", "rows", "version", "attempts", "taken in", "took", "error")
    screen.table(heads, rows, right=("attempts", "took"))

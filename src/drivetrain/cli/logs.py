"""Show what a step printed, in its newest run or in a named one; with `--follow`, also what is still to come.

Of a mapped step, it is what all of its items printed. Without a step, the logs of the newest run are listed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store
from drivetrain.errors import NotFound, UsageError
from drivetrain.experiments.remark import run_named
from drivetrain.pipeline.attempt import log_path
from drivetrain.pipeline.run import StepRun
from drivetrain.pipeline.runner import mark_interrupted

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from pathlib import Path

    from drivetrain.cli.screen import Screen
    from drivetrain.store.ledger import Ledger
    from drivetrain.store.store import Store

# How often a log is looked at that is followed.
LOOK_S = 0.2


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", metavar="[RUN] STEP", help="a step, or an item such as 'rows[2013-02]'")
    parser.add_argument("--follow", action="store_true", help="go on until the step has ended")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    if len(options.what) > 2:
        raise UsageError(f"{len(options.what)} names are too many", remedy="write `drivetrain logs [RUN] STEP`")
    store = kept_store(options)
    mark_interrupted(store.ledger)
    if not options.what:
        run = run_named(store.ledger, "latest").id
        steps = store.ledger.find(StepRun, {"run": run}, order="started_at")
        return [_entry(store, step) for step in steps if log_path(store.root, step).exists()]
    *runs, name = options.what
    run = run_named(store.ledger, runs[0]).id if runs else ""
    step = _step(store.ledger, name, run)
    if options.follow:
        if _items(store.ledger, step):
            raise UsageError(
                f"{name!r} is a mapped step", remedy=f"follow one of its items: `drivetrain logs '{name}[…]' --follow`"
            )
        _follow(store, step, screen)
        return None
    found = [step, *_items(store.ledger, step)]
    return [
        _entry(store, each) | {"text": log_path(store.root, each).read_text(errors="replace")}
        for each in found
        if log_path(store.root, each).exists()
    ] or [_entry(store, step) | {"text": ""}]


def show(result: Any, screen: Screen) -> None:
    if any("text" not in entry for entry in result) or not result:
        screen.table(("step", "state", "bytes", "run"), [tuple(entry.values()) for entry in result], right=("bytes",))
        screen.line("Next: `drivetrain logs STEP`" if result else "No step of the newest run has printed anything")
        return
    for entry in result:
        before = f"{entry['step']} │ " if len(result) > 1 else ""
        for line in entry["text"].splitlines():
            screen.line(f"{before}{line}")
        if not entry["text"]:
            screen.note(f"{entry['step']} printed nothing in {entry['run']}")


def _step(ledger: Ledger, name: str, run: str) -> StepRun:
    """Return the step of that name in a run; without a run, in the newest that has it.

    Raises:
        NotFound: there is none.
    """
    found = ledger.find(StepRun, {"step": name} | ({"run": run} if run else {}), order="-started_at", limit=1)
    if found:
        return found[0]
    others = ledger.find(StepRun, {"run": run} if run else {}, order="-started_at", limit=500)
    raise NotFound(kind="step", name=name, known=list(dict.fromkeys(step.step for step in others)))


def _items(ledger: Ledger, step: StepRun) -> list[StepRun]:
    """Return the items of a mapped step, in the run that has its result."""
    return ledger.find(StepRun, {"run": step.origin, "parent": step.step}, order="step")


def _entry(store: Store, step: StepRun) -> dict[str, Any]:
    path = log_path(store.root, step)
    return {
        "step": step.step,
        "state": step.state,
        "bytes": path.stat().st_size if path.exists() else 0,
        "run": step.origin,
    }


def _follow(store: Store, step: StepRun, screen: Screen) -> None:
    path, read, rest = log_path(store.root, step), 0, b""
    while True:
        mark_interrupted(store.ledger)
        current = store.ledger.get(StepRun, step.run, step.step)
        has_ended = current is None or current.state != "running"
        data, read = _since(path, read)
        *lines, rest = (rest + data).split(b"\n")
        for line in [*lines, *([rest] if has_ended and rest else [])]:
            screen.line(line.decode(errors="replace"))
        if has_ended:
            return
        time.sleep(LOOK_S)


def _since(path: Path, start: int) -> tuple[bytes, int]:
    """Return what a file holds from a place on, and where it ends; of one that is not there, nothing."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return b"", start
    return data, start + len(data)

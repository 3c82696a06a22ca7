"""Whose a step is: found finished, taken by this run, or left to the runner that is at it; and its commit.

The row of a running step is the lease, and its run the fencing token: whoever finds the row with a runner that is gone
marks it, and a row that was marked cannot be committed any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from drivetrain.errors import LeaseLost
from drivetrain.pipeline.key import changes
from drivetrain.pipeline.run import Metric, StepRun
from drivetrain.pipeline.runner import Runner, is_alive
from drivetrain.pipeline.source import Source

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drivetrain.store.ledger import Ledger
    from drivetrain.store.store import Store


def finished(ledger: Ledger, key: str) -> StepRun | None:
    """Return the newest step that finished under a key."""
    found = ledger.find(StepRun, {"key": key, "state": "finished"}, order="-started_at", limit=1)
    return found[0] if found else None


def last_finished(ledger: Ledger, name: str) -> StepRun | None:
    """Return the newest finished step of that name."""
    found = ledger.find(StepRun, {"step": name, "state": "finished"}, order="-started_at", limit=1)
    return found[0] if found else None


def why_now(ledger: Ledger, name: str, made_of: Mapping[str, str]) -> str:
    """Return why a step runs now: what has changed since it last finished."""
    earlier = last_finished(ledger, name)
    if earlier is None:
        return "first time"
    found = changes(earlier.ingredients, made_of)
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def is_whole(store: Store, step: StepRun) -> bool:
    """Return whether everything that a step gave is still there."""
    return all(map(store.holds, step.outputs.values()))


def claim(
    store: Store, step: StepRun, sources: Mapping[str, str], *, anew: bool
) -> Literal["ours", "elsewhere"] | StepRun:
    """Make a step ours by writing its row; or say that a living runner is at it, or return what has been finished.

    With `anew` the step is done again although it has finished before. A run that meets its own key a second time waits
    for the first, as if it were another's.
    """
    ledger = store.ledger
    with ledger.transaction():
        if not anew:
            known = finished(ledger, step.key)
            if known is not None and is_whole(store, known):
                return known
        for other in ledger.find(StepRun, {"key": step.key, "state": "running"}):
            if other.run == step.run or is_alive(ledger.get(Runner, other.run)):
                return "elsewhere"
            ledger.write(msgspec.structs.replace(other, state="interrupted", error=f"{step.run} took it over"))
        ledger.write(step, *(Source(digest=digest, text=text) for digest, text in sources.items()))
    return "ours"


def commit(ledger: Ledger, step: StepRun, points: Collection[Metric]) -> None:
    """Record a step as finished, with its last points.

    Raises:
        LeaseLost: another runner has taken it over in the meantime.
    """
    with ledger.transaction():
        current = ledger.get(StepRun, step.run, step.step)
        if current is None or current.state != "running":
            raise LeaseLost(step=step.step, owner=(current.error if current else "").partition(" took")[0])
        ledger.write(step, *points)

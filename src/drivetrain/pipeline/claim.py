"""Whose a step is: found finished, taken by this run, or left to the runner that is at it; and its commit.

The row of a running step is the lease, and its run the fencing token: whoever finds the row with a runner that is gone
marks it, and a row that was marked cannot be committed any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from drivetrain.pipeline.known import known_outcome
from drivetrain.pipeline.run import StepRun
from drivetrain.pipeline.runner import Runner, is_alive
from drivetrain.pipeline.source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.store.ledger import Ledger
    from drivetrain.store.store import Store
    from drivetrain.system.part import Part


def claim(
    step: StepRun, part: Part, sources: Mapping[str, str], *, store: Store, anew: bool
) -> Literal["ours", "elsewhere"] | StepRun:
    """Make a step ours by writing its row; or say that a living runner is at it, or return what has been finished.

    With `anew` the step is done again although it has finished before. A run that meets its own key a second time waits
    for the first, as if it were another's. After a power cut nobody is at a step, so the disk is not waited for.
    """
    ledger = store.ledger
    with ledger.transaction(is_durable=False):
        ledger.prepare(StepRun)
        # One look at the index: of most keys there is nothing to read.
        states = {
            state
            for (state,) in ledger.select(
                "SELECT state FROM step_run WHERE key = ? AND state IN ('finished', 'running')", (step.key,)
            )
        }
        if not anew and "finished" in states:
            known = known_outcome(part, step.key, store=store)
            if known.step is not None and not known.fault:
                return known.step
        others = ledger.find(StepRun, {"key": step.key, "state": "running"}) if "running" in states else []
        for other in others:
            if other.run == step.run or is_alive(ledger.get(Runner, other.run)):
                return "elsewhere"
            ledger.write(msgspec.structs.replace(other, state="interrupted", error=f"{step.run} took it over"))
        ledger.write(step, *(Source(digest=digest, text=text) for digest, text in sources.items()))
    return "ours"


def commit(ledger: Ledger, steps: Sequence[StepRun]) -> set[str]:
    """Record steps of a run as finished, with one wait for the disk.

    Those that another runner has taken over in the meantime are left out, and their names returned.
    """
    with ledger.transaction():
        running = {
            name
            for step in steps
            for (name,) in ledger.select(
                "SELECT step FROM step_run WHERE run = ? AND step = ? AND state = 'running'", (step.run, step.step)
            )
        }
        ledger.write(*(step for step in steps if step.step in running))
    return {step.step for step in steps} - running

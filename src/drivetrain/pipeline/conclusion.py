"""How a run ends in the record: its state, what it was made of, and the event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from drivetrain.pipeline.figure import outcome_of
from drivetrain.security.event import record_event
from drivetrain.store.record import now

if TYPE_CHECKING:
    from collections.abc import Collection

    from drivetrain.pipeline.origin import Origin
    from drivetrain.pipeline.run import Run, StepRun
    from drivetrain.store.store import Store


def conclude(
    run: Run,
    steps: Collection[StepRun],
    *,
    store: Store,
    origin: Origin,
    failure: BaseException | None,
    unwritten: Collection[StepRun],
) -> Run:
    """Record how a run ended, with the steps that were not written yet, and return its record.

    Raises:
        StoreError: it could not be written.
    """
    state: Literal["finished", "failed", "interrupted"] = (
        "finished" if failure is None else "failed" if isinstance(failure, Exception) else "interrupted"
    )
    run = msgspec.structs.replace(
        run,
        state=state,
        finished_at=now(),
        actor=origin.actor,
        commit=origin.commit,
        dirty_diff=store.artifacts.put(origin.dirty_diff.encode()) if origin.dirty_diff else "",
        environment=origin.environment | _packages(steps),
        error="" if failure is None else str(failure) or type(failure).__name__,
    )
    cut_off = [
        msgspec.structs.replace(step, state="interrupted", error=f"the run {state}")
        for step in steps
        if step.state == "running"
    ]
    with store.ledger.transaction():
        figures = outcome_of(store.ledger, run.id, [step for step in steps if not step.parent])
        store.ledger.write(run, *unwritten, *cut_off, *figures)
        record_event(store.ledger, f"run.{state}", subject=run.id, actor=origin.actor, message=_sentence(run, steps))
    return run


def _packages(steps: Collection[StepRun]) -> dict[str, str]:
    return {
        name.removeprefix("package."): version
        for step in steps
        for name, version in step.ingredients.items()
        if name.startswith("package.")
    }


def _sentence(run: Run, steps: Collection[StepRun]) -> str:
    states = [step.state for step in steps if not step.parent]
    ran = states.count("finished")
    figures = f"{ran} step{'' if ran == 1 else 's'} run, {states.count('cached')} unchanged"
    if "skipped" in states:
        figures += f", {states.count('skipped')} skipped"
    if run.state == "finished":
        return f"A run ({run.reason}) finished: {figures}."
    return f"A run ({run.reason}) {run.state}: {figures}. {(run.error.splitlines() or [''])[0]}"

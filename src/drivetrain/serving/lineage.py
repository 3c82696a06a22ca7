"""From one prediction back to everything: version, decision, evaluation, training data, commit, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.pipeline.run import Run, StepRun
from drivetrain.registry.registry import version
from drivetrain.registry.version import Decision, Version
from drivetrain.serving.log import find_prediction

if TYPE_CHECKING:
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind one prediction."""

    prediction: Any
    version: Version
    decisions: list[Decision]
    run: Run
    # The steps that led to the model, the first one first.
    steps: list[StepRun]

    @property
    def datasets(self) -> dict[str, Artifact]:
        """The tables that the model was trained on, by name."""
        return {step.step: step.outputs[step.step] for step in self.steps if step.role == "dataset"}


def explain(store: Store, prediction_id: str) -> Lineage:
    """Return what stands behind a prediction.

    Raises:
        NotFound: no such prediction was answered here.
    """
    prediction = find_prediction(store, prediction_id)
    return lineage_of(store, version(store.ledger, prediction.version), prediction)


def lineage_of(store: Store, chosen: Version, prediction: Any = None) -> Lineage:
    """Return what stands behind a version."""
    ledger = store.ledger
    run = ledger.get(Run, chosen.run)
    assert run is not None
    steps = {step.step: step for step in ledger.find(StepRun, {"run": run.id})}
    producer = {output: step.step for step in steps.values() for output in step.outputs}
    wanted, stack = {chosen.model}, [chosen.model]
    while stack:
        step = steps.get(stack.pop())  # absent where its row was damaged and set aside
        for need in step.ingredients if step else ():
            family, _, word = need.partition(".")
            name = producer.get(word, "")
            if family == "input" and name and name not in wanted:
                wanted.add(name)
                stack.append(name)
    return Lineage(
        prediction=prediction,
        version=chosen,
        decisions=ledger.find(Decision, {"version": chosen.id}),
        run=run,
        steps=[step for step in steps.values() if step.step in wanted],
    )

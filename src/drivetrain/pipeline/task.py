"""A task: one step's turn in a run, the `Job` that its part is handed; here or in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import NotFound, StoreError
from drivetrain.pipeline.attachment import attach
from drivetrain.pipeline.failure import failure_of
from drivetrain.pipeline.log import CURRENT
from drivetrain.pipeline.memory import PeakMemory
from drivetrain.pipeline.node import Item
from drivetrain.pipeline.points import Points
from drivetrain.store.artifact import Artifact

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.pipeline.handover import Handover
    from drivetrain.pipeline.steplog import StepLog
    from drivetrain.pipeline.surroundings import Surroundings
    from drivetrain.store.store import Store
    from drivetrain.system.system import System

_SHARED_TYPES = (int, float, str, bytes, bool, type(None))


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a step is to do, as plain data: it may be carried out in another process.

    `artifacts` and `keys` are by the name of an output; `settings` by part.
    """

    run: str
    step: str
    part: str
    item: dict[str, Item]
    artifacts: Mapping[str, Artifact]
    keys: Mapping[str, str]
    settings: Mapping[str, dict[str, Any]]
    # Whether large tables are left for other processes to map into their memory.
    hands_over: bool = False


class Task:
    """Reads inputs and takes figures for one step."""

    def __init__(
        self,
        order: Order,
        *,
        store: Store,
        system: System,
        root: Path,
        handover: Handover,
        held: Mapping[str, Any] | None = None,
        printed: StepLog | None = None,
    ) -> None:
        self._order, self._handover, self._held = order, handover, held or {}
        self.run, self.store, self.system, self.root = order.run, store, system, root
        self.settings: Mapping[str, Any] = order.settings[order.part]
        self.printed = printed
        self.points = Points(self, order.step)

    def artifact(self, name: str) -> Artifact:
        """Return what is known of an output that this step may read."""
        try:
            return self._order.artifacts[name]
        except KeyError as error:
            raise NotFound(kind="output", name=name, known=list(self._order.artifacts)) from error

    def value(self, name: str, form: Any = None) -> Any:
        """Return the value of an input, in the annotated form; of a mapped one, this item."""
        item = self._order.item.get(name)
        if item is not None:
            if item.artifact is not None:
                return self.store.value(item.artifact, form)
            return item.value if form in (None, Any) else msgspec.convert(item.value, form)
        output = self.system.needs[self._order.part].get(name, name)
        if output not in self._order.artifacts and output in self.system.producers:
            return None  # what was to give it was skipped, and this step can do without
        held = self._held.get(output)
        if held is not None and (form is None or form is Any or (isinstance(form, type) and isinstance(held, form))):
            return held
        artifact = self.artifact(output)
        handed = self._handover.take(artifact, form)
        return handed if handed is not None else self.system.producers[output].value_of(self.store, artifact, form)

    def key(self, name: str) -> str:
        """Return the key of the part that gives an output."""
        return self._order.keys[self.system.producers[name].name]

    def settings_of(self, name: str) -> Mapping[str, Any]:
        """Return the settings of a part in this run."""
        return self._order.settings[name]

    def log(self, name: str, value: float, step: int | None = None) -> None:
        """Record one point of a metric; curves of a long step are written as they grow."""
        self.points.log(name, value, step)

    def attach(self, name: str, value: Any) -> None:
        """Keep a value or a file beside the step's output."""
        attach(self.store, self.run, self._order.step, name, value)


class Outcome(msgspec.Struct, kw_only=True):
    """What came of an order: the outputs, or what went wrong and whether that may be over in a moment."""

    outputs: dict[str, Artifact] = {}
    # The values themselves, where the step ran in this process and others may be handed the same objects.
    values: dict[str, Any] = {}
    error: Any = None
    is_passing: bool = False
    peak_mib: float = 0.0


def carry_out(order: Order, task: Task, *, handover: Handover, surroundings: Surroundings) -> Outcome:
    """Carry an order out in this thread, and keep what it gives."""
    part = task.system.parts[order.part]
    token = CURRENT.set(task)
    memory = PeakMemory()
    try:
        with surroundings:
            given = part.perform(task)
        outputs, values = {}, {}
        for name, output in given.items():
            kept = task.store.keep(output.value, part=name, detail=output.detail, place=part.place)
            outputs[name] = kept
            if isinstance(output.value, _SHARED_TYPES) or task.store.shares(output.value):
                values[name] = output.value
            if order.hands_over:
                handover.give(kept, output.value)
        task.points.close()
        return Outcome(outputs=outputs, values=values, peak_mib=memory.mib())
    except BaseException as error:
        try:
            task.points.close()
        except StoreError as second:
            error.add_note(f"and what it logged could not be written: {second}")
        return Outcome(
            error=failure_of(order.step, part, error, task.root),
            is_passing=part.conduct.retry.takes(error),
            peak_mib=memory.mib(),
        )
    finally:
        CURRENT.reset(token)

"""Values given in place of what parts would make of their own accord."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from drivetrain.data.dataset import Dataset
from drivetrain.data.features import Features
from drivetrain.data.schema import columns_of
from drivetrain.data.split import Side, direct_detail
from drivetrain.data.table import as_frame, polars_of
from drivetrain.errors import UnknownName, UsageError
from drivetrain.load.loadtest import LoadTest
from drivetrain.system.function import FunctionPart
from drivetrain.system.part import Job, Output, Part
from drivetrain.training.model import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.store.store import Store
    from drivetrain.system.system import System


class Given(Part, frozen=True, kw_only=True, eq=False):
    """Stands where a part stood, and gives a value as if its function had returned it.

    What the part does beside calling its function is still done: a dataset's rows are checked, a model gets its
    signature from the training table.
    """

    ROLE: ClassVar[str] = "given"
    RUNS: ClassVar[bool] = True

    part: Part
    value: Any
    digest: str

    def needs(self, parts: Mapping[str, Part]) -> dict[str, str]:
        return self.part.needs(parts) if isinstance(self.part, Model) else {}

    def outputs(self) -> dict[str, Any]:
        return self.part.outputs()

    def settings(self) -> dict[str, Any]:
        return self.part.settings()

    def declared(self) -> dict[str, Any]:
        return {"given": self.digest, **self.part.declared()}

    def perform(self, job: Job) -> dict[str, Output]:
        part = self.part
        if isinstance(part, (Features, Side)):
            return {part.name: self._table(part)}
        if isinstance(part, (FunctionPart, LoadTest)):
            return part.outputs_from(self.value, job)
        return {part.name: Output(self.value)}

    def _table(self, part: Features | Side) -> Output:
        """Return a training table whose columns, but for key, time and label, are the features."""
        source = part.source if isinstance(part, Side) else part
        entity = source if isinstance(source, Dataset) else source.entity
        assert entity is not None
        roles, frame = entity.roles, as_frame(self.value, part=part.name, place=part.place)
        if roles.label not in frame.columns:
            label = str(roles.label)
            raise UnknownName(kind=f"column of the given {part.name!r}", name=label, known=frame.columns)
        known = {"roles": msgspec.to_builtins(roles), "columns": msgspec.to_builtins(columns_of(frame))}
        detail = direct_detail(entity.name, known, roles)
        if isinstance(part, Side):
            frame = frame.select(*(column["name"] for column in detail["columns"]), roles.label)
        return Output(frame, detail)


def with_given(system: System, give: Mapping[str, Any], store: Store) -> System:
    """Return the system with values in place of some outputs; the system itself stays as it is.

    A name is that of an output; of a step with several, that of the step, or all of them.

    Raises:
        UnknownName: nothing is called that.
        UsageError: of a step with several outputs, only some are given.
    """
    changed = copy.copy(system)
    changed.parts, changed.producers = dict(system.parts), dict(system.producers)
    changed.needs, changed.givers = dict(system.needs), dict(system.givers)
    for name, value in _by_part(system, give).items():
        part = system.parts[name]
        table = polars_of(value)
        value = value if table is None else table
        given = Given(
            name=name,
            place=part.place,
            part=part,
            value=value,
            digest=store.keep(value, part=name, place=part.place).digest,
        )
        changed.parts[name] = given
        changed.producers |= dict.fromkeys(part.outputs(), given)
        changed.needs[name] = given.needs(system.producers)
        changed.givers[name] = list(dict.fromkeys(system.producers[need].name for need in changed.needs[name].values()))
    return changed


def steps_left(system: System, changed: System) -> list[str]:
    """Return the parts that are still of use: those that the last parts of the system need, directly or not."""
    taken = {giver for name, givers in system.givers.items() for giver in givers if system.parts[name].RUNS}
    return changed.upstream(*(name for name, part in system.parts.items() if part.RUNS and name not in taken))


def _by_part(system: System, give: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in give.items():
        part = system.parts.get(name)
        if part is not None and part.RUNS:
            found[name] = value
        elif name in system.producers:
            found.setdefault(system.producers[name].name, {})[name] = value
        else:
            raise UnknownName(kind="output to give a value for", name=name, known=list(system.producers))
    for name, value in found.items():
        missing = [output for output in system.parts[name].outputs() if output not in give]
        if name not in give and missing:
            raise UsageError(
                f"{name!r} gives several outputs, and a value is given for {', '.join(value)} only",
                remedy=f"give one for {', '.join(missing)} too",
            )
    return found

"""Values held in memory: those that cannot be changed in place are handed on as they are, until nobody takes them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drivetrain.pipeline.plan import Plan


class Held:
    """The values of outputs that steps of this run have still to take, by the output's name."""

    def __init__(self, plan: Plan) -> None:
        self.values: dict[str, Any] = {}
        self._needs = plan.system.needs
        self._takers_left = Counter(need for name in plan.steps for need in self._needs[name].values())

    def keep(self, values: Mapping[str, Any]) -> None:
        """Hold what a step gave, as far as another takes it."""
        self.values |= {name: value for name, value in values.items() if self._takers_left[name]}

    def taken(self, part: str) -> None:
        """Let go of what nobody takes now that a part has had it."""
        needs = self._needs[part].values()
        self._takers_left.subtract(needs)
        self.forget(need for need in needs if not self._takers_left[need])

    def forget(self, outputs: Iterable[str]) -> None:
        """Let go of these outputs."""
        for name in outputs:
            self.values.pop(name, None)

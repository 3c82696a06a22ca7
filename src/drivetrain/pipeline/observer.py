"""What a run tells as it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from drivetrain.pipeline.run import StepRun


class Observer(Protocol):
    """Whoever wants to see a run as it goes; the calls come from several threads."""

    def step(self, step: StepRun) -> None:
        """Hear that a step has another state now."""
        ...

    def expanded(self, step: str, items: int) -> None:
        """Hear that a mapped step begins with its items, of which there are so many."""
        ...

    def said(self, step: str, line: str) -> None:
        """Hear a line that a step has printed."""
        ...

"""Systems that run inside a test on a real store, with nothing in between: what is asserted is what the engine did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import drivetrain as dt
from drivetrain.pipeline.engine import Execution
from drivetrain.pipeline.plan import make_plan
from drivetrain.store.store import Store
from drivetrain.system.part import Part


class Plain:
    """Runs systems on one durable store, and gives their values and states. The project is that of the tests."""

    def __init__(self, folder: Path, *, root: Path = Path(__file__).parents[1]) -> None:
        self.folder, self.root = folder, root
        self.store = Store.open(folder / "store")
        self.last: Execution | None = None

    def run(self, *parts: Part, settings: dict[str, Any] | None = None, **options: Any) -> dict[str, str]:
        """Run the parts and return the state of each step."""
        plan = make_plan(dt.System("lab", *parts), settings=settings)
        self.last = Execution(plan, store=self.store, root=self.root, **options)
        self.last.execute()
        return {name: step.state for name, step in self.last.steps.items()}

    def value(self, name: str, form: Any = None) -> Any:
        """Return an output of the last run."""
        assert self.last is not None
        return self.store.value(self.last.artifacts[name], form)

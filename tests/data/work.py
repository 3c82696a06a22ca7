"""A system carried out in memory: the smallest `Job` there can be, with a real store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drivetrain.store.artifact import Artifact
from drivetrain.store.store import Store
from drivetrain.system.part import Part
from drivetrain.system.system import System


class Work:
    """Performs parts one by one, keeping what each gave; it is the job that each is handed."""

    def __init__(self, folder: Path, *parts: Part) -> None:
        self.run = "run-1"
        self.store = Store.open(folder / "store")
        self.system = System("tested", *parts)
        self.settings: Mapping[str, Any] = {}
        self.root = folder
        self.artifacts: dict[str, Artifact] = {}
        self.points: dict[str, float] = {}

    def artifact(self, name: str) -> Artifact:
        return self.artifacts[name]

    def value(self, name: str, form: Any = None) -> Any:
        return self.store.value(self.artifacts[name], form)

    def key(self, name: str) -> str:
        return name

    def settings_of(self, name: str) -> Mapping[str, Any]:
        return self.system.parts[name].settings()

    def log(self, name: str, value: float, step: int | None = None) -> None:
        self.points[name] = value

    def attach(self, name: str, value: Any) -> None:
        raise NotImplementedError

    def until(self, name: str, **settings: Any) -> Any:
        """Perform all that `name` depends on, and itself; return its value."""
        for step in self.system.upstream(name):
            if step not in self.artifacts:
                part = self.system.parts[step]
                self.settings = part.settings() | (settings if step == name else {})
                for output, given in part.perform(self).items():
                    self.artifacts[output] = self.store.keep(given.value, part=output, detail=given.detail)
        return self.value(name)

"""The contract of a part: what it needs, what it gives, and how it takes part in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import msgspec

from drivetrain.errors import Place
from drivetrain.system.conduct import Conduct
from drivetrain.system.declaration import Declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store
    from drivetrain.system.system import System


class Output(NamedTuple):
    """One thing that a part gave: its value, and what should be known of it without reading it."""

    value: Any
    detail: dict[str, Any] = {}  # a named tuple's default is shared and never changed


class Job(Protocol):
    """What a part is handed when its turn comes in a run."""

    run: str
    store: Store
    system: System
    settings: Mapping[str, Any]
    # The project's folder.
    root: Path

    def artifact(self, name: str) -> Artifact:
        """Return what is known of an input, by the name of the output it is."""
        ...

    def value(self, name: str, form: Any = None) -> Any:
        """Return an input's value, in the annotated form."""
        ...

    def key(self, name: str) -> str:
        """Return the key of the part that gives an output."""
        ...

    def settings_of(self, name: str) -> Mapping[str, Any]:
        """Return the settings of a part in this run."""
        ...

    def log(self, name: str, value: float, step: int | None = None) -> None:
        """Record one point of a metric for this step; without a step of the curve, the next one."""
        ...

    def attach(self, name: str, value: Any) -> None:
        """Keep a value or a file beside this step's output."""
        ...


class Part(msgspec.Struct, frozen=True, kw_only=True, eq=False, metaclass=Declared):
    """One declaration of a system.

    A part whose name is empty gets it from the variable that holds it, when the system is put together.
    """

    ROLE: ClassVar[str] = "part"
    # A run executes the part; a service, a monitor or a trigger only refers to others.
    RUNS: ClassVar[bool] = False
    # The same key never runs twice; a gate decides anew in every run.
    CACHED: ClassVar[bool] = True

    name: str = ""
    place: Place = Place("", 0)
    conduct: Conduct = Conduct()

    def needs(self, parts: Mapping[str, Part]) -> dict[str, str]:
        """Return what the part takes: its own word for it → the name of an output.

        `parts` has each output of the system by name.
        """
        return {}

    def optional(self) -> frozenset[str]:
        """Return the words of `needs` that may be missing: the part is then handed None."""
        return frozenset()

    def refers(self) -> tuple[Part, ...]:
        """Return the parts that this one mentions without taking their outputs."""
        return ()

    def waits(self) -> tuple[str, ...]:
        """Return the outputs that must be there first although the part does not take them."""
        return (self.conduct.condition,) if self.conduct.condition else ()

    def follows(self, parts: Mapping[str, Part]) -> tuple[str, ...]:
        """Return the outputs that must be settled first, whatever has become of them."""
        return ()

    def outputs(self) -> dict[str, Any]:
        """Return the names of what the part gives, each with its type."""
        return {self.name: Any}

    def settings(self) -> dict[str, Any]:
        """Return the settings and their defaults."""
        return {}

    def declared(self) -> dict[str, Any]:
        """Return what else decides the part's outcome, as plain values: it becomes part of the key."""
        return {}

    def environment_read(self) -> tuple[str, ...]:
        """Return the names of the environment variables that decide the part's outcome."""
        return ()

    def files_read(self, root: Path, items: Sequence[Mapping[str, str]] = ()) -> dict[str, Path]:
        """Return the files that decide the part's outcome, each by its name in the project's folder `root`.

        Of a mapped part these are also the files that are filled in for `items`, each the texts of its parameters.
        """
        return {}

    def files_of_items(self) -> tuple[str, ...]:
        """Return the paths and patterns that are filled in for each item."""
        return ()

    def is_there(self, item: Mapping[str, str], root: Path) -> bool:
        """Return whether the part can be carried out for an item yet."""
        return True

    def lasts(self) -> timedelta | None:
        """Return how long an outcome can be used again; None is forever."""
        return None

    def function_of(self) -> Any:
        """Return the user's function, or None."""
        return None

    @property
    def about(self) -> str:
        """The first line that the user's function says about itself; empty where it says nothing."""
        text = (getattr(self.function_of(), "__doc__", None) or "").strip()
        return text.splitlines()[0] if text else ""

    def check(self, parts: Mapping[str, Part]) -> None:
        """Raise a DeclarationError where the part does not fit the others."""

    def perform(self, job: Job) -> dict[str, Output]:
        """Do the work and return each output by name."""
        raise NotImplementedError(f"{self.ROLE} takes no part in a run")

    def value_of(self, store: Store, artifact: Artifact, form: Any) -> Any:
        """Return what a part that takes this one's output is handed, from the artifact that it is kept as."""
        return store.value(artifact, form)

    def gathered(self, job: Job, name: str) -> dict[str, Any]:
        """Return what should be known of an output whose items, each made by `perform`, have come together."""
        return {}

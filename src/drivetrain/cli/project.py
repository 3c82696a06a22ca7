"""What most commands begin with: the project, its system and its store, which only `make_store` creates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drivetrain.errors import UsageError
from drivetrain.store.store import Store
from drivetrain.system.load import load_system
from drivetrain.system.settings import FILE, Project, find_project

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable

    from drivetrain.system.system import System


class Opened(NamedTuple):
    """A project that is open for a command."""

    project: Project
    system: System
    store: Store


def open_store(options: Namespace) -> Store | None:
    """Return the store of the project around the current folder; None where nothing has been kept yet.

    Raises:
        UsageError: there is no project here.
    """
    project = find_project(profile=options.profile)
    if Store.is_at(project.store_path):
        return make_store(project)
    is_project = getattr(options, "file", None) or (project.root / FILE).is_file() or project.system_path.is_file()
    if not is_project:
        raise UsageError(
            f"Nothing here yet: neither a {FILE} nor a {project.system_path.name} is in {project.root}",
            remedy="Next: `drivetrain init` writes a first system",
        )
    return None


def kept_store(options: Namespace) -> Store:
    """Return the store of the project around the current folder, for a command that asks for something in it.

    Raises:
        UsageError: nothing has been kept yet.
    """
    store = open_store(options)
    if store is None:
        raise UsageError("Nothing here yet: nothing has run", remedy="Next: `drivetrain run`")
    return store


def open_system(options: Namespace) -> tuple[Project, System]:
    """Return the project around the current folder, and its system."""
    project = find_project(profile=options.profile)
    file = getattr(options, "file", None)
    path = (project.root / file) if file else project.system_path
    return project, load_system(path.resolve(), name=project.get("system.name"))


def open_project(options: Namespace) -> Opened:
    """Return the project around the current folder with its system and store, which is made where there is none."""
    project, system = open_system(options)
    return Opened(project, system, make_store(project))


def models_of_file(options: Namespace, known: Iterable[str]) -> list[str]:
    """Return those of the models that the file of `--file` declares; all where none is named."""
    if not options.file:
        return sorted(known)
    _, system = open_system(options)
    return sorted({part.name for part in system.of_role("model")}.intersection(known))


def make_store(project: Project) -> Store:
    """Return the store of a project, which is made where there is none."""
    return Store.open(project.store_path, allow_pickle=project.get("store.allow_pickle"))

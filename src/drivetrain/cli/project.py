"""What most commands begin with: the project, its system and its store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drivetrain.store.store import Store
from drivetrain.system.load import load_system
from drivetrain.system.settings import Project, find_project

if TYPE_CHECKING:
    from argparse import Namespace

    from drivetrain.system.system import System


class Opened(NamedTuple):
    """A project that is open for a command."""

    project: Project
    system: System
    store: Store


def open_store(options: Namespace) -> tuple[Project, Store]:
    """Return the project around the current folder, and its store."""
    project = find_project(profile=options.profile)
    return project, Store.open(project.store_path, allow_pickle=project.get("store.allow_pickle"))


def open_project(options: Namespace) -> Opened:
    """Return the project around the current folder with its system and store."""
    project = find_project(profile=options.profile)
    file = getattr(options, "file", None)
    path = (project.root / file) if file else project.system_path
    system = load_system(path.resolve(), name=project.get("system.name"))
    return Opened(project, system, Store.open(project.store_path, allow_pickle=project.get("store.allow_pickle")))

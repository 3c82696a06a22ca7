"""Fixtures for all tests."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.project import Project

# The plugin's own, also where the environment was installed before there was one.
from drivetrain.testing.pytest import lab as lab


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty project in a folder of its own."""
    return Project(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Collect what a file's tests leave: a connection that they did not close fails them, and not a later file."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def forgotten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget the modules that a test loaded from a temporary folder: the next `system.py` is another one."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    temporary = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(temporary):
            del sys.modules[name]

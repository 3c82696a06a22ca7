"""Fixtures for the tests of serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.serving.world import Server, promote, register, served

from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an empty store."""
    opened = Store.open(tmp_path_factory.mktemp("store"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server with one worker and one version, for the tests of a module."""
    opened = Store.open(tmp_path_factory.mktemp("store"))
    promote(opened, register(opened, 1))
    with served(opened) as running:
        yield running
    opened.close()

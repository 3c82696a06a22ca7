from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.monitoring.traffic_of import World

from drivetrain.store.store import Store


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store.open(tmp_path / "store")
    yield World(store)
    store.close()

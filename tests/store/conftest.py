from pathlib import Path

import pytest

from drivetrain.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store for the many examples of one property."""
    return Store.open(tmp_path_factory.mktemp("one") / "store")

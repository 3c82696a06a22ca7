"""Fixtures for the tests of streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.serving.conftest import store as store
from tests.serving.streams.brokers import BROKERS, Broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=list(BROKERS))
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Return a running broker: each vendor's that is to be had here."""
    made = BROKERS[request.param](tmp_path)
    made.start()
    made.make("orders", "answers", "orders.dead")
    yield made
    made.stop()

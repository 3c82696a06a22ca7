"""Fixtures for the tests of gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.serving.world import promote, register

from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serving.grpc.calls import GrpcServed


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServed]:
    """Return a server with one worker and one version, for the tests of a module."""
    from tests.serving.grpc.calls import over_grpc  # which needs gRPC's library

    opened = Store.open(tmp_path_factory.mktemp("store"))
    promote(opened, register(opened, 1))
    with over_grpc(opened) as running:
        yield running
    opened.close()

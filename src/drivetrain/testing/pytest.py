"""The pytest plugin: a fixture `lab`, and nothing that is loaded before a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.testing.lab import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Give a `drivetrain.testing.Lab` that runs systems on a store which is thrown away after the test."""
    from drivetrain.testing.lab import Lab

    with Lab() as made:
        yield made

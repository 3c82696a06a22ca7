"""What follows from where the time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drivetrain.load.speed.explanation import Explanation
    from drivetrain.registry.version import Version


def conclusions(found: Explanation, version: Version) -> list[str]:
    return []

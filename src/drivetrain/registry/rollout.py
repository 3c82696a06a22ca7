"""A rollout: a new version gets a share of the traffic until it is promoted or rolled back."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from drivetrain.store.record import Record


class Rollout(Record, frozen=True, kw_only=True):
    """One challenger's way: what it was given, what was seen, and what was decided why."""

    TABLE: ClassVar[str] = "rollout"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("service", "state"),)

    id: str
    service: str
    model: str
    champion: str
    challenger: str
    share: float
    state: Literal["canary", "promoted", "rolled_back"]
    started_at: datetime
    decided_at: datetime | None = None
    reason: str = ""
    evidence: dict[str, Any] = {}

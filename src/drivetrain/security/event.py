"""What happened, in a chain: each event holds the hash of the one before, so that none can be changed or left out."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from drivetrain.store import exact
from drivetrain.store.record import Record, new_id, now, utc

if TYPE_CHECKING:
    from drivetrain.store.ledger import Ledger

FIRST = "0" * 64


class Event(Record, frozen=True, kw_only=True):
    """One thing that happened: the timeline of the console, and the audit log.

    `kind` is a noun and a verb (`run.finished`, `gate.passed`, `drift.raised`, `canary.started`, `version.promoted`,
    `version.rolled_back`); `subject` names what it happened to; `message` is a sentence for people; `evidence` the
    figures behind it. `happened_at` is the moment in the world of the data where that differs from the clock.
    """

    TABLE: ClassVar[str] = "event"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("number",), ("kind", "number"), ("subject",))

    id: str
    at: datetime
    kind: str
    subject: str
    message: str
    actor: str
    evidence: dict[str, Any] = {}
    happened_at: datetime | None = None
    number: int
    previous: str
    hash: str


def record_event(
    ledger: Ledger,
    kind: str,
    *,
    subject: str,
    message: str,
    actor: str = "drivetrain",
    evidence: dict[str, Any] | None = None,
    happened_at: datetime | None = None,
) -> Event:
    """Append an event to the chain, in the transaction that is open or in one of its own."""
    with ledger.transaction():
        last = ledger.find(Event, order="-number", limit=1)
        event = Event(
            id=new_id("event"),
            at=now(),
            kind=kind,
            subject=subject,
            message=message,
            actor=actor,
            # As they come back from the ledger, so that the hash is the same then.
            evidence=exact.decode(exact.encode(evidence or {})),
            happened_at=happened_at and utc(happened_at),
            number=last[0].number + 1 if last else 1,
            previous=last[0].hash if last else FIRST,
            hash="",
        )
        event = msgspec.structs.replace(event, hash=_hash(event))
        ledger.write(event)
    return event


def broken_link(events: list[Event]) -> Event | None:
    """Return the first event, in order of number, that does not fit the one before; None when the chain holds."""
    previous = FIRST
    for number, event in enumerate(events, 1):
        if event.number != number or event.previous != previous or event.hash != _hash(event):
            return event
        previous = event.hash
    return None


def _hash(event: Event) -> str:
    body = msgspec.structs.replace(event, hash="")
    return sha256(exact.encode(body)).hexdigest()

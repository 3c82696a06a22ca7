from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivetrain.security.event import Event, broken_link, record_event
from drivetrain.store.sqlite import SQLiteLedger


@pytest.fixture
def ledger(tmp_path: Path) -> SQLiteLedger:
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    for kind in ("run.finished", "gate.passed", "canary.started", "version.promoted"):
        record_event(ledger, kind, subject="lateness", message=f"{kind}.", evidence={"auc": 0.7})
    return ledger


def chain(ledger: SQLiteLedger) -> list[Event]:
    return ledger.find(Event, order="number")


def test_events_are_numbered_and_each_holds_the_hash_of_the_one_before(ledger: SQLiteLedger) -> None:
    events = chain(ledger)

    assert [event.number for event in events] == [1, 2, 3, 4]
    assert [event.previous for event in events[1:]] == [event.hash for event in events[:-1]]
    assert broken_link(events) is None
    assert broken_link([]) is None


@pytest.mark.parametrize("event", range(4))
@pytest.mark.parametrize(
    "change",
    [
        {"message": "Nothing happened."},
        {"actor": "somebody else"},
        {"at": datetime(2013, 1, 1, tzinfo=UTC)},
        {"evidence": {"auc": 0.9}},
        {"happened_at": datetime(2013, 1, 1, tzinfo=UTC)},
        {"hash": "f" * 64},
        {"previous": "f" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_event_that_was_changed_is_found(ledger: SQLiteLedger, event: int, change: dict[str, Any]) -> None:
    ledger.write(msgspec.structs.replace(chain(ledger)[event], **change))

    broken = broken_link(ledger.find(Event, order="number"))

    assert broken is not None
    assert broken.number == event + 1


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_an_event_that_was_removed_is_found(ledger: SQLiteLedger, removed: int) -> None:
    events = chain(ledger)
    del events[removed]

    broken = broken_link(events)

    assert broken is not None
    assert broken.number == removed + 2


def test_events_that_changed_places_are_found(ledger: SQLiteLedger) -> None:
    events = chain(ledger)
    second, third = events[1], events[2]
    events[1] = msgspec.structs.replace(third, number=2)
    events[2] = msgspec.structs.replace(second, number=3)

    broken = broken_link(events)

    assert broken is not None
    assert broken.number == 2


@pytest.mark.parametrize(
    "evidence",
    [
        {"drift": float("nan"), "bound": float("inf")},
        {"counts": {10: 1, 9: 2}, "range": (1, 2)},
        {"at": datetime(2013, 1, 1, tzinfo=UTC), "score": 1e22, "tiny": 5e-324},
    ],
)
def test_the_chain_holds_whatever_the_evidence_once_it_was_read_back(
    ledger: SQLiteLedger, evidence: dict[str, Any]
) -> None:
    zone = timezone(timedelta(hours=-5))
    for moment in (datetime(2013, 4, 1), datetime(2013, 4, 1, tzinfo=zone)):  # noqa: DTZ001  # as in data
        record_event(ledger, "drift.raised", subject="watch", message="Drift.", evidence=evidence, happened_at=moment)

    assert broken_link(SQLiteLedger(ledger.path).find(Event, order="number")) is None


def test_an_event_in_a_transaction_that_failed_leaves_the_chain_whole(ledger: SQLiteLedger) -> None:
    try:
        with ledger.transaction():
            record_event(ledger, "run.finished", subject="run", message="Done.")
            raise KeyError
    except KeyError:
        pass
    record_event(ledger, "run.failed", subject="run", message="It failed.")

    assert [event.number for event in chain(ledger)] == [1, 2, 3, 4, 5]
    assert broken_link(chain(ledger)) is None

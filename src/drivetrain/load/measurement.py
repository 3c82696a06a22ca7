"""A measurement: a load that was put on a server, and what came of it, in the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from drivetrain.load.rate import Found
from drivetrain.load.report import Report
from drivetrain.security.actor import actor
from drivetrain.security.event import record_event
from drivetrain.store.record import Record, new_id, now

if TYPE_CHECKING:
    from drivetrain.store.ledger import Ledger


class Measurement(Record, frozen=True, kw_only=True):
    """One load test by `drivetrain load`; `subject` is the version or the URL that was asked, `asked` how."""

    TABLE: ClassVar[str] = "measurement"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("subject",),)

    id: str
    at: datetime
    subject: str
    asked: dict[str, Any]
    report: Report
    # Where the highest rate was looked for.
    found: Found | None = None
    actor: str = ""


def keep_measurement(
    ledger: Ledger, subject: str, asked: dict[str, Any], report: Report, found: Found | None
) -> Measurement:
    """Record a measurement with its event, and return it."""
    with ledger.transaction():
        kept = Measurement(
            id=new_id("load"), at=now(), subject=subject, asked=asked, report=report, found=found, actor=actor()
        )
        ledger.write(kept)
        record_load(ledger, subject, asked, report, by=kept.actor)
    return kept


def record_load(ledger: Ledger, subject: str, asked: dict[str, Any], report: Report, *, by: str = "drivetrain") -> None:
    """Record that something was put under load, and what it answered."""
    rate = asked.get("rate")
    record_event(
        ledger,
        "load.measured",
        subject=subject,
        message=f"{subject} answered {report.requests_per_s:,.0f} requests a second"
        + (f" of {rate:,.4g}" if rate else "")
        + f", 99 % within {report.p99_ms:.3g} ms"
        + (f"; {report.error_share:.2%} failed" if report.failed else ""),
        actor=by,
        evidence=report.figures(),
    )

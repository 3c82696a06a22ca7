"""What runs ask people: the list of it, and the answers that are given in the console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import UsageError
from drivetrain.pipeline.approval import Request, answer, as_it_stands, open_requests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.ui.console import Asked, Console

# So many that were answered are listed.
MOST_ANSWERED = 50
LONGEST_NAME, LONGEST_REASON = 80, 2000
ANSWERS = ("approved", "refused")


class ApprovalList(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked now, and what was answered, the newest first."""

    open: list[Request]
    answered: list[Request]


def approvals(console: Console, asked: Asked) -> ApprovalList:
    """Return what runs ask, and what they were told."""
    ledger = console.store.ledger
    newest = map(as_it_stands, ledger.find(Request, order="-asked_at", limit=MOST_ANSWERED))
    return ApprovalList(open=open_requests(ledger), answered=[each for each in newest if each.state != "open"])


def answered(console: Console, request: str, given: Mapping[str, Any]) -> Request:
    """Record an answer that somebody gave in the console, under the name that they gave.

    Raises:
        UsageError: the answer, the name or the reason is missing, or too long.
        NotFound: nobody asks that.
        Refused: it has been answered.
    """
    word, by, reason = (str(given.get(name, "")).strip() for name in ("answer", "by", "reason"))
    if word not in ANSWERS:
        raise UsageError(f"{word!r} is no answer", remedy="answer approved or refused")
    for name, text, longest in (("by", by, LONGEST_NAME), ("reason", reason, LONGEST_REASON)):
        if not text or len(text) > longest or not text.isprintable():
            raise UsageError(f"{name} is {text[:20]!r}", remedy=f"write 1 to {longest:,} characters: it is recorded")
    return answer(
        console.store.ledger,
        request,
        "approved" if word == "approved" else "refused",
        by=f"{by} (console)",
        reason=reason,
    )

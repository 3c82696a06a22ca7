"""An approval: a run waits until a person has said yes or no, and who and why is recorded."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from drivetrain.errors import DeclarationError, NotFound, Refused
from drivetrain.security.event import record_event
from drivetrain.store.record import Record, new_id, now
from drivetrain.system.caller import caller
from drivetrain.system.conduct import Conduct
from drivetrain.system.part import Job, Output, Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.store.ledger import Ledger

# How often a waiting run looks whether somebody has decided.
LOOK_S = 0.2
UNANSWERED = "nobody answered in time"


class Request(Record, frozen=True, kw_only=True):
    """What a run asks people: to approve something, by its digest; and what they said.

    Once decided, the answer holds for the same thing in later runs too.
    """

    TABLE: ClassVar[str] = "approval"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("name", "subject"), ("state",))

    id: str
    name: str
    # The digest of what is to be approved, and the name of the output that it is.
    subject: str
    output: str
    run: str
    question: str = ""
    state: Literal["open", "approved", "refused", "expired"] = "open"
    asked_at: datetime
    expires_at: datetime | None = None
    decided_at: datetime | None = None
    by: str = ""
    reason: str = ""


class Approval(Part, frozen=True, eq=False):
    """A person's word on something that a run has made: `sign_off = dt.Approval(quality, question="Good at night?")`.

    It gives True or False, for the `when` of other parts. The run waits, and other steps go on; after `timeout_s`
    seconds the answer is no. `drivetrain approve` and `drivetrain refuse` answer, and so does the console.
    """

    ROLE = "approval"
    RUNS = True
    CACHED = False

    of: Any
    question: str = ""
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        place = caller()
        msgspec.structs.force_setattr(self, "place", place)
        # Waiting takes no processor.
        msgspec.structs.force_setattr(self, "conduct", Conduct(cpu=0))
        if not isinstance(self.of, (str, Part)):
            raise DeclarationError(
                f"an approval is about what a part gives, and {self.of!r} is no part",
                remedy="give it a part, or the name of an output: `dt.Approval(quality)`",
                place=place,
            )

    @property
    def output(self) -> str:
        """The name of the output that is to be approved."""
        return self.of if isinstance(self.of, str) else next(iter(self.of.outputs()))

    def needs(self, parts: Mapping[str, Part]) -> dict[str, str]:
        return {"of": self.output}

    def outputs(self) -> dict[str, Any]:
        return {self.name: bool}

    def perform(self, job: Job) -> dict[str, Output]:
        ledger, subject = job.store.ledger, job.artifact(self.output).digest
        request = self._asked(ledger, subject, job.run)
        while request.state == "open":
            if as_it_stands(request).state == "expired":
                request = answer(ledger, request.id, "expired", by=self.name, reason=UNANSWERED)
                break
            time.sleep(LOOK_S)
            request = ledger.get(Request, request.id) or request
        told = {"by": request.by, "reason": request.reason, "state": request.state, "request": request.id}
        return {self.name: Output(request.state == "approved", {"approval": told})}

    def _asked(self, ledger: Ledger, subject: str, run: str) -> Request:
        """Return the request about this very thing, which an earlier run may have made."""
        with ledger.transaction():
            found = ledger.find(Request, {"name": self.name, "subject": subject}, order="-asked_at", limit=1)
            if found and as_it_stands(found[0]).state != "expired":
                return found[0]
            request = Request(
                id=new_id("approval"),
                name=self.name,
                subject=subject,
                output=self.output,
                run=run,
                question=self.question,
                asked_at=now(),
                expires_at=now() + timedelta(seconds=self.timeout_s) if self.timeout_s is not None else None,
            )
            ledger.write(request)
            record_event(
                ledger,
                "approval.asked",
                subject=request.id,
                message=f"{self.name} waits for a person: {self.question or f'approve {self.output}?'}",
                actor=run,
            )
        return request


def as_it_stands(request: Request) -> Request:
    """Return a request as it is now: one that nobody answered in time has expired, whether its run saw that or not."""
    if request.state != "open" or request.expires_at is None or now() <= request.expires_at:
        return request
    return msgspec.structs.replace(
        request, state="expired", by=request.name, reason=UNANSWERED, decided_at=request.expires_at
    )


def open_requests(ledger: Ledger) -> list[Request]:
    """Return what runs wait for, the earliest first; what has been asked for too long is over."""
    found = ledger.find(Request, {"state": "open"}, order="asked_at")
    return [request for request in found if as_it_stands(request).state == "open"]


def answer(
    ledger: Ledger, id_or_name: str, state: Literal["approved", "refused", "expired"], *, by: str, reason: str
) -> Request:
    """Answer an open request, given by its id or by the name of its approval, and return it as it stands now.

    Raises:
        NotFound: nobody asks that.
        Refused: it has been answered.
    """
    with ledger.transaction():
        asked = ledger.get(Request, id_or_name)
        if asked is None:
            named = ledger.find(Request, {"name": id_or_name}, order="-asked_at")
            asked = next((found for found in named if found.state == "open"), named[0] if named else None)
        if asked is None:
            known = [found.name for found in ledger.find(Request, {"state": "open"})]
            raise NotFound(kind="approval", name=id_or_name, known=known)
        if state != "expired":
            asked = as_it_stands(asked)
        if asked.state == "expired":
            raise Refused(
                f"{asked.name} was not answered in time, and expired on {asked.decided_at:%Y-%m-%d}",
                remedy="the next run asks again",
            )
        if asked.state != "open":
            raise Refused(
                f"{asked.name} was {asked.state} by {asked.by} on {asked.decided_at:%Y-%m-%d}: {asked.reason}",
                remedy="what it was asked about has not changed since; a change asks anew",
            )
        asked = msgspec.structs.replace(asked, state=state, by=by, reason=reason, decided_at=now())
        ledger.write(asked)
        record_event(
            ledger,
            f"approval.{state}",
            subject=asked.id,
            message=f"{asked.name} was {state}{f': {reason}' if reason else ''}",
            actor=by,
            evidence={"output": asked.output, "subject": asked.subject, "run": asked.run},
        )
    return asked

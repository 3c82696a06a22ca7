"""Conditions and approvals: what runs only when something holds, or when somebody agrees."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest

import drivetrain as dt
from drivetrain.errors import DeclarationError, NotFound, Refused, UnknownName
from drivetrain.pipeline.approval import Request, answer, open_requests
from drivetrain.security.event import Event
from drivetrain.testing import Lab


@dt.step
def drifted(is_so: bool = False) -> bool:
    return is_so


@dt.step(when=drifted)
def retrained() -> int:
    return 2


@dt.step
def tuned(retrained: int) -> int:
    return retrained + 1


@dt.step
def report(retrained: int | None) -> str:
    return f"retrained: {retrained}"


def test_a_step_whose_condition_is_false_is_skipped_with_what_needs_it(lab: Lab) -> None:
    result = lab.run(drifted, retrained, tuned, report)
    result.assert_ran("drifted", "report")
    result.assert_skipped("retrained", because="drifted is false")
    result.assert_skipped("tuned", because="retrained was skipped")
    assert result["report"] == "retrained: None"


def test_when_the_condition_holds_it_runs_as_any_other(lab: Lab) -> None:
    lab.run(drifted, retrained, tuned, report)
    result = lab.run(drifted, retrained, tuned, report, settings={"drifted.is_so": True})
    result.assert_ran("tuned")
    assert result["report"] == "retrained: 2"
    lab.run(drifted, retrained, tuned, report).assert_cached("drifted", "report")


def test_a_condition_is_a_bool_of_the_system() -> None:
    @dt.step
    def number() -> int:
        return 1

    @dt.step(when="number")
    def rare() -> int:
        return 2

    with pytest.raises(DeclarationError, match="no bool"):
        dt.System("lab", number, rare)
    with pytest.raises(UnknownName, match="number"):
        dt.System("lab", rare)


def test_a_run_waits_until_somebody_agrees_and_remembers_who(lab: Lab) -> None:
    @dt.step
    def figures() -> dict[str, float]:
        return {"auc": 0.7}

    sign_off = dt.Approval(figures, question="good at night?", name="sign_off")

    @dt.step(when=sign_off)
    def released() -> bool:
        return True

    def agree() -> None:
        while not lab.store.ledger.find(Request, {"state": "open"}):
            time.sleep(0.02)
        answer(lab.store.ledger, "sign_off", "approved", by="ann", reason="looked at the nights")

    person = threading.Thread(target=agree)
    person.start()
    result = lab.run(figures, sign_off, released, workers=1)
    person.join()
    result.assert_ran("released")
    (event,) = lab.store.ledger.find(Event, {"kind": "approval.approved"})
    assert (event.actor, event.message) == ("ann", "sign_off was approved: looked at the nights")
    # The same figures need no second word.
    lab.run(figures, sign_off, released).assert_cached("released")


def test_a_refusal_skips_what_waits_for_it(lab: Lab) -> None:
    @dt.step
    def figures() -> dict[str, float]:
        return {"auc": 0.7}

    sign_off = dt.Approval(figures, timeout_s=0.1, name="sign_off")

    @dt.step(when=sign_off)
    def released() -> bool:
        return True

    lab.run(figures, sign_off, released).assert_skipped("released")
    assert lab.store.ledger.find(Request)[0].state == "expired"


def test_an_answer_is_given_once_to_something_that_is_asked(lab: Lab) -> None:
    with pytest.raises(NotFound):
        answer(lab.store.ledger, "sign_off", "approved", by="ann", reason="")

    @dt.step
    def figures() -> dict[str, float]:
        return {"auc": 0.7}

    sign_off = dt.Approval(figures, timeout_s=0.1, name="sign_off")
    lab.run(figures, sign_off)
    with pytest.raises(Refused, match=r"not answered in time.*\n.*the next run asks again"):
        answer(lab.store.ledger, "sign_off", "approved", by="ann", reason="")


def test_what_nobody_answered_while_its_run_was_gone_has_expired_and_is_asked_again(lab: Lab) -> None:
    @dt.step
    def figures() -> dict[str, float]:
        return {"auc": 0.7}

    sign_off = dt.Approval(figures, timeout_s=0.1, name="sign_off")
    ledger = lab.store.ledger
    lab.run(figures, sign_off)
    (asked,) = ledger.find(Request)
    ledger.write(msgspec.structs.replace(asked, state="open", by="", reason="", decided_at=None))
    assert open_requests(ledger) == []
    with pytest.raises(Refused, match="not answered in time"):
        answer(ledger, "sign_off", "approved", by="ann", reason="")
    lab.run(figures, sign_off)
    assert len(ledger.find(Request)) == 2

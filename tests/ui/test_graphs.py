"""Runs of graphs in the console: items, tries, logs, and the answers that people give there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.ui import graphs
from tests.ui.conftest import ADDRESS, Visitor

from drivetrain.pipeline.run import Run, StepRun
from drivetrain.security.event import Event
from drivetrain.store.record import now
from drivetrain.store.store import Store

TOKEN = "long enough to be a token"
HERE = {"origin": ADDRESS}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "store")
    yield made
    graphs.end_waiting(made)


@pytest.fixture
def visitor(store: Store) -> Visitor:
    return Visitor(store, graphs.system(), {})


def test_an_answer_is_given_in_the_console_and_the_run_goes_on(store: Store, visitor: Visitor) -> None:
    run, thread = graphs.waiting(store)
    page = visitor.ask(f"/runs/{run}").text
    assert "Is the total right?" in page
    assert "Is the total right?" in visitor.ask("/").text
    (asked,) = visitor.ask("/api/approvals").json()["open"]
    given = {"answer": "approved", "by": "ann", "reason": "I added them up"}
    told = visitor.ask(f"/approvals/{asked['id']}", method="POST", data=given, headers=HERE)
    assert (told.status_code, told.headers["location"]) == (303, f"/runs/{run}")
    thread.join(60)
    turns = {turn["step"]["step"]: turn for turn in visitor.ask(f"/api/runs/{run}").json()["turns"]}
    assert turns["shipped"]["step"]["state"] == "finished"
    (event,) = store.ledger.find(Event, {"kind": "approval.approved"})
    assert event.actor == "ann (console)"
    assert "I added them up" in event.message
    again = visitor.ask(f"/approvals/{asked['id']}", method="POST", data=given, headers=HERE)
    assert again.status_code == 400
    assert "ann (console)" in again.text
    assert "I added them up" in visitor.ask("/approvals").text


def test_an_answer_is_given_as_json(store: Store, visitor: Visitor) -> None:
    run, thread = graphs.waiting(store)
    (asked,) = visitor.ask("/api/approvals").json()["open"]
    body = {"answer": "refused", "by": "ben", "reason": "one month is missing"}
    told = visitor.ask(f"/api/approvals/{asked['id']}", method="POST", json=body, headers=HERE)
    assert told.json()["state"] == "refused"
    thread.join(60)
    step = store.ledger.get(StepRun, run, "shipped")
    assert step is not None
    assert step.state == "skipped"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"answer": "perhaps", "by": "ann", "reason": "why"}, "is no answer"),
        ({"answer": "approved", "by": " ", "reason": "why"}, "it is recorded"),
        ({"answer": "approved", "by": "ann"}, "it is recorded"),
        ({"answer": "approved", "by": "ann", "reason": "w" * 3000}, "2,000 characters"),
    ],
)
def test_an_answer_without_who_and_why_is_refused(
    store: Store, visitor: Visitor, given: dict[str, str], told: str
) -> None:
    answer = visitor.ask("/api/approvals/approval-1", method="POST", json=given, headers=HERE)
    assert answer.status_code == 400
    assert told in answer.text


@pytest.mark.parametrize("address", ["/approvals/x", "/api/approvals/x"])
@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", ""])
def test_another_site_cannot_answer(store: Store, visitor: Visitor, address: str, origin: str) -> None:
    given = {"answer": "approved", "by": "ann", "reason": "why"}
    refused = visitor.ask(address, method="POST", data=given, headers={"origin": origin} if origin else {})
    assert refused.status_code == 403
    rebound = visitor.ask(
        address, method="POST", data=given, headers={"host": "evil.example", "origin": "http://evil.example"}
    )
    assert rebound.status_code == 421


def test_nobody_answers_without_the_token(store: Store) -> None:
    locked = Visitor(store, graphs.system(), {"console.token": TOKEN})
    given = {"answer": "approved", "by": "ann", "reason": "why"}
    assert locked.ask("/api/approvals/x", method="POST", json=given, headers=HERE).status_code == 401
    assert locked.ask("/approvals/x", method="POST", data=given, headers=HERE).headers["location"].startswith("/login")
    bearer = {"authorization": f"Bearer {TOKEN}"}
    known = locked.ask("/api/approvals/x", method="POST", json=given, headers=HERE | bearer)
    assert known.status_code == 404, "it is asked, and there is no such request"
    program = locked.ask("/api/approvals/x", method="POST", json=given, headers=bearer)
    assert program.status_code == 404, "a program with the token sends no origin"
    lured = locked.ask("/api/approvals/x", method="POST", json=given, headers=bearer | {"origin": "null"})
    assert lured.status_code == 403


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_a_body_that_is_no_answer_is_refused(visitor: Visitor, body: bytes) -> None:
    assert visitor.ask("/api/approvals/x", method="POST", content=body, headers=HERE).status_code == 400


def test_items_are_folded_under_their_step(store: Store, visitor: Visitor) -> None:
    run, _ = graphs.waiting(store)
    page = visitor.ask(f"/api/runs/{run}").json()
    turns = {turn["step"]["step"]: turn for turn in page["turns"]}
    assert "rows[2013-02]" not in turns
    assert turns["rows"]["states"] == {"finished": 12}
    assert len(turns["rows"]["items"]) == 12
    assert turns["rows"]["items"][0]["log"]["last"] == "", "only a step's own page needs that"
    html = visitor.ask(f"/runs/{run}").text
    assert html.count("<details") >= 1
    assert "rows[2013-12]" in html


def test_tries_and_failures_of_items_are_told(store: Store, visitor: Visitor) -> None:
    run = graphs.failed(store)
    html = visitor.ask(f"/runs/{run}").text
    assert "inverse[0] failed after 2 tries" in html
    assert "ZeroDivisionError" in html
    (turn,) = visitor.ask(f"/api/runs/{run}").json()["turns"]
    assert turn["step"]["state"] == "failed"
    assert turn["states"]["failed"] == 1


def test_a_log_is_plain_text_and_nothing_else(store: Store, visitor: Visitor) -> None:
    run, _ = graphs.waiting(store)
    page = visitor.ask(f"/runs/{run}").text
    assert "line 39" in page
    assert "line 5\n" not in page, "only the last lines"
    assert graphs.HOSTILE not in page
    log = visitor.ask(f"/logs/{run}", params={"step": "total"})
    assert log.headers["content-type"] == "text/plain; charset=utf-8"
    assert log.headers["x-content-type-options"] == "nosniff"
    assert log.headers["content-security-policy"].startswith("sandbox")
    assert "line 5\n" in log.text
    assert visitor.ask(f"/logs/{run}", params={"step": "rows[2013-02]"}).text.startswith("rows of 2013-02")
    assert visitor.ask(f"/logs/{run}", params={"step": "nothing"}).status_code == 404
    assert visitor.ask(f"/logs/{run}", params={"step": "../../ledger.db"}).status_code == 404


def test_a_run_that_was_imported_names_no_file_outside_of_the_logs(store: Store, visitor: Visitor) -> None:
    (store.root / "x.log").write_text("secret")
    store.ledger.write(
        Run(id="run-1", system="graphs", state="finished", started_at=now()),
        StepRun(run="run-1", step="x", role="step", state="cached", key="k", origin="..", reason="", started_at=now()),
    )
    (store.root / "logs").mkdir(exist_ok=True)
    assert visitor.ask("/logs/run-1", params={"step": "x"}).status_code == 404
    assert "secret" not in visitor.ask("/runs/run-1").text


def test_a_stack_is_a_mapped_part_and_dashes_are_a_condition(visitor: Visitor) -> None:
    drawn = visitor.ask("/system").text
    assert "rows, step, for each month" in drawn
    assert "node-behind" in drawn
    assert "retrained, step, when drifted" in drawn
    assert 'class="edge is-condition" data-from="drifted" data-to="retrained"' in drawn


def test_the_request_is_what_the_api_gives(store: Store, visitor: Visitor) -> None:
    graphs.waiting(store)
    listed = visitor.ask("/api/approvals").content
    assert {"id", "name", "question", "run", "subject"} <= set(msgspec.json.decode(listed)["open"][0])

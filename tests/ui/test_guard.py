import pytest
from tests.ui.conftest import ADDRESS, Visitor

from drivetrain.errors import Refused
from drivetrain.store.store import Store
from drivetrain.system.system import System
from drivetrain.ui.guard import COOKIE
from drivetrain.ui.server import refuse_public

TOKEN = "correct horse battery"


@pytest.fixture
def locked(told: Store, system: System) -> Visitor:
    return Visitor(told, system, {"console.token": TOKEN})


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1.elsewhere.example", "", "[::1"])
def test_another_name_gets_no_answer(visitor: Visitor, host: str) -> None:
    answer = visitor.ask("/api/runs", headers={"host": host})

    assert answer.status_code == 421
    assert "run-" not in answer.text


@pytest.mark.parametrize("host", ["localhost:4200", "127.0.0.1", "[::1]:4200", "LOCALHOST"])
def test_the_names_of_this_machine_are_answered(visitor: Visitor, host: str) -> None:
    assert visitor.ask("/api/pulse", headers={"host": host}).status_code == 200


def test_every_answer_ties_the_browsers_hands(visitor: Visitor) -> None:
    for path in ("/", "/api/pulse", "/static/console.css", "/nowhere"):
        headers = visitor.ask(path).headers

        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
    assert visitor.ask("/").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", ""])
def test_another_site_cannot_send_anything(locked: Visitor, origin: str) -> None:
    answer = locked.ask("/login", method="POST", data={"token": TOKEN}, headers={"origin": origin})

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_token_opens_the_console(locked: Visitor) -> None:
    shut = locked.ask("/runs")
    door = locked.ask("/login?next=/runs")
    wrong = locked.ask("/login", method="POST", data={"token": "guess"}, headers={"origin": ADDRESS})
    right = locked.ask("/login?next=/runs", method="POST", data={"token": TOKEN}, headers={"origin": ADDRESS})
    inside = locked.ask("/runs", headers={"cookie": right.headers["set-cookie"].partition(";")[0]})

    assert (shut.status_code, shut.headers["location"]) == (303, "/login?next=/runs")
    assert door.status_code == 200
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    assert (right.status_code, right.headers["location"]) == (303, "/runs")
    assert "HttpOnly" in right.headers["set-cookie"]
    assert "SameSite=strict" in right.headers["set-cookie"]
    assert TOKEN not in right.headers["set-cookie"]
    assert inside.status_code == 200


def test_programs_bring_the_token_along(locked: Visitor) -> None:
    assert locked.ask("/api/runs").status_code == 401
    assert locked.ask("/api/runs", headers={"authorization": "Bearer guess"}).status_code == 401
    assert locked.ask("/api/runs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert locked.ask("/runs", headers={"cookie": f"{COOKIE}=guess"}).status_code == 303


def test_the_door_leads_nowhere_else(locked: Visitor) -> None:
    answer = locked.ask(
        "/login?next=//elsewhere.example", method="POST", data={"token": TOKEN}, headers={"origin": ADDRESS}
    )

    assert answer.headers["location"] == "/"


def test_a_public_address_needs_a_token() -> None:
    with pytest.raises(Refused, match="everyone who reaches"):
        refuse_public("0.0.0.0", "")
    refuse_public("0.0.0.0", TOKEN)

"""What is refused where calls are declared, and where their addresses are set."""

from __future__ import annotations

from typing import Any

import pytest

import drivetrain as dt
from drivetrain.cli.service import chosen_service
from drivetrain.errors import BadSetting, CallFailed, Cycle, DeclarationError, NotFound, UsageError
from drivetrain.serving.calls.addresses import Addresses, addresses_of
from drivetrain.serving.calls.exchange import Exchange
from drivetrain.serving.desk import Desk
from drivetrain.system.settings import find_project


def composed(*called: Any) -> Any:
    @dt.predictor
    class Whole:
        members = tuple(dt.calls(each) for each in called)

        async def predict(self, text: str) -> float:
            return 0.0

    return Whole


@dt.predictor
class Brief:
    def predict(self, text: str) -> float:
        return 0.0


def test_services_that_call_each_other_are_refused() -> None:
    @dt.predictor
    class First:
        async def predict(self, text: str) -> float:
            return 0.0

    first = dt.Service(First, name="one")
    second = dt.Service(composed(first), name="two")
    First.made.second = dt.calls(second)  # type: ignore[attr-defined]  # mypy takes it for the class

    with pytest.raises(Cycle, match="one"):
        dt.System("round", first, second)


def test_what_is_no_service_or_cannot_wait_is_refused() -> None:
    with pytest.raises(DeclarationError, match="which is no service"):
        dt.calls(Brief)  # type: ignore[call-overload]  # as one may write it

    service = dt.Service(Brief, name="service")

    @dt.predictor
    class Hasty:
        inner = dt.calls(service)

        def predict(self, text: str) -> float:
            return 0.0

    with pytest.raises(DeclarationError, match="cannot await"):
        dt.System("system", dt.Service(Hasty, name="outer"))


def test_the_service_that_no_other_calls_is_meant() -> None:
    inner, alone = dt.Service(Brief, name="inner"), dt.Service(Brief, name="alone")
    outer = dt.Service(composed(inner), name="outer")

    assert chosen_service(dt.System("one", inner, outer), "").name == "outer"
    assert [each.name for each in outer.terms().calls] == ["inner"]
    with pytest.raises(UsageError, match="several services"):
        chosen_service(dt.System("two", inner, outer, alone), "")


def test_an_address_of_nobody_or_of_oneself_is_refused() -> None:
    known = ["expert", "triage"]

    assert addresses_of({"expert": "http://expert:8000"}, {"expert": "t"}, known=known).tokens == {"expert": "t"}
    with pytest.raises(NotFound, match="exprt") as error:
        addresses_of({"exprt": "http://expert:8000"}, {}, known=known)
    assert error.value.remedy == "did you mean expert?"
    with pytest.raises(NotFound, match="address_tokens"):
        addresses_of({}, {"exprt": "t"}, known=known)
    for wrong in ("expert:8000", "ftp://expert", "http://me:secret@expert", "http://127.0.0.1:8000"):
        with pytest.raises(BadSetting):
            addresses_of({"expert": wrong}, {}, known=known, port=8000)


def test_addresses_stand_in_the_file_or_in_the_environment(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drivetrain.toml").write_text('[serve.addresses]\nexpert = "http://expert:8000"\n')

    assert find_project(tmp_path).get("serve.addresses") == {"expert": "http://expert:8000"}
    monkeypatch.setenv("DRIVETRAIN_SERVE_ADDRESSES", "a=http://a:1, b=http://b:2")
    assert find_project(tmp_path).get("serve.addresses") == {"a": "http://a:1", "b": "http://b:2"}
    monkeypatch.setenv("DRIVETRAIN_SERVE_ADDRESS_TOKENS", "s3cret")
    with pytest.raises(BadSetting) as error:
        find_project(tmp_path)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("called", "told"), [(422, 500), (413, 500), (401, 502), (500, 502), (502, 502), (429, 503), (503, 503), (504, 504)]
)
def test_what_a_called_service_says_is_another_thing_to_the_client(called: int, told: int) -> None:
    assert CallFailed(service="expert", called_status=called, reason="so").status == told


def test_what_an_older_version_calls_and_the_system_has_no_longer_is_told() -> None:
    exchange = Exchange(Desk, Addresses())

    _, problems = exchange.standing(["expert"])

    assert problems == ["expert: is called by a version, and by no service that the system has now"]
    with pytest.raises(CallFailed, match="'expert'"):
        exchange.port("expert")

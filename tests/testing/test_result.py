"""What a run gave: values, figures, what was printed, and assertions that tell what they saw."""

from __future__ import annotations

import pytest
from tests.testing import ferries, rows

import drivetrain as dt
from drivetrain.errors import NotFound, RequestError, UnknownName, UsageError
from drivetrain.testing import Lab, Result, decide


@pytest.fixture
def result(lab: Lab) -> Result:
    return lab.run(ferries, give={"trips": rows.trips()})


def test_what_a_step_logged_and_printed_is_there_also_when_it_was_cached(lab: Lab, result: Result) -> None:
    for found in (result, lab.run(ferries, give={"trips": rows.trips()})):
        assert found.logged("loss") == found.logged("lateness.loss") == [0.7, 0.5, 0.4]
        assert found.metrics["lateness.loss"] == 0.4
        assert found.printed("lateness").startswith("fitting 1")
    with pytest.raises(UnknownName, match=r"did you mean lateness.loss"):
        result.logged("lateness.los")
    assert result.printed("quality") == ""


def test_a_name_that_is_not_there_is_told_with_the_nearest(result: Result) -> None:
    with pytest.raises(UnknownName, match="did you mean quality"):
        result["qualty"]
    with pytest.raises(UnknownName, match="did you mean lateness"):
        result.why("latenes")
    with pytest.raises(UnknownName, match="attachment"):
        result.attached("curve")


def test_an_assertion_that_fails_tells_the_whole_run(lab: Lab, result: Result) -> None:
    with pytest.raises(AssertionError) as cached:
        result.assert_cached("lateness")
    assert str(cached.value).startswith("lateness was to be cached, and ran: first time\n\nthe run finished:")
    assert "finished    lateness  first time" in str(cached.value)
    with pytest.raises(AssertionError, match="lateness ran, but not because of 'setting c': first time"):
        result.assert_ran("lateness", because="setting c")
    with pytest.raises(AssertionError, match="was to be skipped, and ran"):
        result.assert_skipped("lateness")
    again = lab.run(ferries, give={"trips": rows.trips()})
    with pytest.raises(AssertionError, match="lateness was to run, and was cached: nothing changed"):
        again.assert_ran("lateness")


def test_a_step_whose_condition_is_false_is_skipped(lab: Lab) -> None:
    @dt.step
    def drifted(is_so: bool = False) -> bool:
        dt.attach("note", {"seen": 3})
        return is_so

    @dt.step(when=drifted)
    def retrained() -> int:
        return 2

    result = lab.run(drifted, retrained)
    result.assert_skipped("retrained", because="drifted is false")
    assert result.skipped == {"retrained"}
    assert result.attached("note") == {"seen": 3}
    with pytest.raises(NotFound, match="decision"):
        _ = result.version
    lab.run(drifted, retrained, give={"drifted": True}).assert_ran("retrained")


def test_a_client_answers_as_the_server_does(result: Result) -> None:
    client = result.client()
    assert client.fields == ["trip", "wind", "harbour"]
    one = client.predict({"wind": 45.0, "harbour": "A"})
    assert one["version"] == "lateness@1"
    assert one["prediction"] > 0.5
    calm, rough = client.predict([{"wind": 2, "harbour": "B"}, {"wind": 48, "harbour": "B"}])
    assert calm["prediction"] < rough["prediction"]
    assert client.predict([]) == []
    with pytest.raises(RequestError) as refused:
        client.predict({"wind": "strong"})
    assert refused.value.status == 422
    assert [problem["field"] for problem in refused.value.problems] == ["wind", "harbour"]
    with pytest.raises(RequestError, match="not JSON"):
        client.send(b"{")


def test_without_a_champion_nobody_answers(lab: Lab) -> None:
    result = lab.run(ferries, give={"trips": rows.trips(), "quality": {"auc": 0.5}})
    assert result.outcome == "refused"
    with pytest.raises(NotFound, match="lateness"):
        result.client()
    with pytest.raises(NotFound, match="service"):
        result.client("servise")


def test_a_gate_decides_on_figures_alone() -> None:
    assert decide(ferries.gate, {"quality.auc": 0.7})
    assert decide(ferries.gate, {"quality.auc": 0.5}).broken == ["quality.auc >= 0.6"]
    beaten = decide(ferries.gate, {"quality.auc": 0.7}, champion={"quality.auc": 0.8})
    assert beaten.broken == ["quality.auc >= champion"]
    assert "does not hold: 0.7 (the champion on the same rows: 0.8)" in repr(beaten)
    assert not decide(ferries.gate, {"quality.acu": 0.7})
    with pytest.raises(UsageError, match="a model, and only a gate"):
        decide(ferries.lateness, {})

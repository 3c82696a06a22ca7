"""Calls without a server: in evaluations, in a lab, and by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.serving.project import Project

import drivetrain as dt
from drivetrain.errors import RequestError, UsageError
from drivetrain.testing.lab import Lab

SYSTEM = """
import asyncio

import drivetrain as dt


@dt.predictor
class Short:
    def predict(self, text: list[str]) -> list[float]:
        if "odd" in text:
            raise RuntimeError("no")
        return [len(each) / 10 for each in text]


small = dt.Service(Short)


@dt.predictor
class Mid:
    small = dt.calls(small, float)

    async def predict(self, text: str) -> float:
        return 2 * (await self.small({"text": text})).prediction


middle = dt.Service(Mid)


@dt.predictor
class Whole:
    members = [dt.calls(small, float), dt.calls(middle, float)]

    async def predict(self, text: str) -> list[float]:
        found = await asyncio.gather(*[each({"text": text}) for each in self.members])
        return [each.prediction for each in found]


@dt.evaluation
def quality(whole) -> dict[str, float]:
    return {"sum": sum(asyncio.run(whole.predict("four")))}


gates = [dt.Gate(Whole, name="gate_outer", require=[quality.sum > 0])]
gates += [dt.Gate(each, name=f"gate_{each.name}") for each in (Short, Mid)]
answer = dt.Service(Whole)
"""


def test_an_evaluation_and_a_client_of_a_lab_call_the_champions(tmp_path: Path) -> None:
    path = tmp_path / "system.py"
    path.write_text(SYSTEM)
    with Lab() as lab:
        first = lab.run(path)
        again = lab.run(path)
        told = again.client("answer").predict([{"text": "a"}, {"text": "four"}])
        with pytest.raises(RequestError, match=r"'small'.*failed \(500\)"):
            again.client("answer").predict({"text": "odd"})
        assert first.metrics["quality.sum"] == pytest.approx(1.2)
        again.assert_cached("short", "quality")
    assert [each["prediction"] for each in told] == [[0.1, 0.2], [0.4, 0.8]]


def test_an_evaluation_runs_again_where_a_called_service_has_another_champion(tmp_path: Path) -> None:
    project = Project(tmp_path, SYSTEM)
    project.run()
    project.write("system.py", SYSTEM.replace("/ 10 for", "/ 20 for"))

    told = project.command("run").stdout

    assert "quality: sum 0.6" in told, told
    assert "gate_outer: whole@1 is the champion already" in told
    assert "gate_short: short@2 passed and is the champion" in told
    assert "gate_outer: whole@1 is the champion already" in project.command("run", "--no-cache").stdout


def test_by_hand_an_attribute_is_what_one_sets_it_to() -> None:
    @dt.predictor
    class Inner:
        def predict(self, text: str) -> float:
            return 0.5

    service = dt.Service(Inner, name="inner")

    @dt.predictor
    class Outside:
        inner = dt.calls(service, float)

        async def predict(self, text: str) -> float:
            return (await self.inner({"text": text})).prediction

    made: Any = Outside()
    with pytest.raises(UsageError, match="made by hand"):
        asyncio.run(made.predict("x"))

    class Answer:
        prediction = 0.25

    async def fake(row: Any) -> Answer:
        return Answer()

    made.inner = fake
    assert asyncio.run(made.predict("x")) == 0.25

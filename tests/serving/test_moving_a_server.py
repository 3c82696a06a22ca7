"""What the page on moving a server over tells its readers to send, sent to the server that it has them start."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.serving.project import Project
from tests.serving.world import ROOT
from tests.test_docs import blocks

if TYPE_CHECKING:
    from pathlib import Path

for library in ("lightgbm", "skl2onnx"):
    pytest.importorskip(library)

PAGE = ROOT / "docs" / "moving-a-server.md"


def told(answer: dict[str, Any]) -> Any:
    """Return the first prediction of an answer in any of the forms."""
    if "outputs" in answer:
        return answer["outputs"][0]["data"][0]
    return answer["predictions"][0] if "predictions" in answer else answer["prediction"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The page's own folder, with the files that it has its readers make."""
    files = {block.title: block.text for block in blocks(PAGE) if block.title}
    project = Project(tmp_path, files["system.py"], **{name.replace(".", "__"): text for name, text in files.items()})
    subprocess.run([sys.executable, "old.py"], cwd=tmp_path, check=True, timeout=120)
    return project


@pytest.mark.parametrize(("system", "gate"), [("system.py", "sklearn_iris"), ("boosted.py", "boosted")])
def test_a_new_file_is_a_new_version(project: Project, system: str, gate: str) -> None:
    first = project.command("run", "--file", system).stdout
    old = (project.folder / "old.py").read_text()
    project.write("old.py", old.replace("LogisticRegression()", "LogisticRegression(C=0.5)").replace("=20", "=10"))
    subprocess.run([sys.executable, "old.py"], cwd=project.folder, check=True, timeout=120)
    second = project.command("run", "--file", system).stdout

    assert f"gate: {gate}@1 passed and is the champion" in first
    assert f"gate: {gate}@2 passed and is the champion" in second


NARROW = """
from dataclasses import dataclass

import msgspec

import drivetrain as dt


@dataclass
class Plan:
    name: str


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    name: str


@dt.predictor
class Churn:
    def predict(self, age: int, active: bool, plan: Plan, strict: Strict) -> float:
        return age / 100


gate = dt.Gate(Churn)
service = dt.Service(Churn)
"""


def test_what_the_page_says_of_leniency_holds(tmp_path: Path) -> None:
    project = Project(tmp_path, NARROW)
    project.run()
    body = {"age": 40, "active": True, "plan": {"name": "basic", "more": 1}, "strict": {"name": "basic"}}
    changes: list[dict[str, Any]] = [
        {"age": "40"}, {"age": 20.0}, {"active": 1}, {"more": 1}, {"strict": {"name": "basic", "more": 1}},
    ]  # fmt: skip

    with project.served() as address:
        taken = address.client.post("/predict", json=body)
        refused = [address.client.post("/predict", json=body | change) for change in changes]

    assert taken.status_code == 200, taken.text
    assert [each.status_code for each in refused] == [422] * len(changes)
    assert {tuple(each.json()) for each in refused} == {("error", "problems")}


def test_each_client_of_the_page_is_answered(project: Project) -> None:
    page = list(blocks(PAGE))
    project.run()
    commands = [
        shlex.split(line.removeprefix("$ "))
        for block in page
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.startswith("$ curl")
    ]

    assert len(commands) == 4
    with project.served() as address:
        for words in commands:
            path = re.sub(r"^localhost:\d+", address.url, words[2])
            # What curl itself writes where it is told nothing.
            kind = {"content-type": "application/x-www-form-urlencoded"}
            if "-H" in words:
                kind = dict([words[words.index("-H") + 1].split(": ")])
            seen = httpx.post(path, content=words[words.index("-d") + 1], headers=kind)
            assert seen.status_code == 200, f"{path}: {seen.text}"
            assert told(seen.json()) == 1
        row = {"sepal_length": 6.8, "sepal_width": 2.8, "petal_length": 4.8, "petal_width": 1.4}
        for change in ({"more": 1}, {"sepal_width": None}):
            refused = address.client.post("/invocations", json={"dataframe_records": [row | change]})
            assert refused.status_code == 422, refused.text
        named = {"instances": [[6.8, 2.8, 4.8, 1.4]]}
        assert address.client.post("/v1/models/sklearn.iris:predict", json=named).status_code == 404

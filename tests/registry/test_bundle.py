"""The code that a version was trained with: its model is read with it, whatever stands in the folder by now."""

from __future__ import annotations

import importlib.util
import sys
import time
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from tests.serving.project import Project

from drivetrain.registry import bundle
from drivetrain.registry.version import Version
from drivetrain.serving.predictor import Predictor
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = """
import polars as pl
from models import Made, made

import drivetrain as dt


@dt.dataset(label="y")
def rows() -> pl.LazyFrame:
    return pl.LazyFrame({"a": [1.0, 2.0, 3.0, 4.0], "y": [2.0, 4.0, 6.0, 8.0]})


train, test = dt.split(rows, test=0.25)


@dt.model
def scaled(train: pl.DataFrame) -> Made:
    return made()


@dt.evaluation
def quality(scaled: Made, test: pl.DataFrame) -> dt.metrics.Regression:
    return dt.metrics.regression(scaled, test)


gate = dt.Gate(scaled, require=[quality.rmse <= dt.champion])
service = dt.Service(scaled)
"""
PICKLED = """
class Made:
    def predict(self, x):
        return {factor} * x["a"].to_numpy()


def made():
    return Made()
"""
NETWORK = """
import torch


class Made(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.{layer} = torch.nn.Linear(1, 1)

    def forward(self, x):
        return self.{layer}(x)


def made():
    module = Made()
    torch.nn.init.constant_(module.{layer}.weight, {factor})
    torch.nn.init.zeros_(module.{layer}.bias)
    return module
"""


def _network(factor: float, layer: str) -> str:
    return NETWORK.format(factor=factor, layer=layer)


def _pickled(factor: float, layer: str) -> str:
    return PICKLED.format(factor=factor)


@pytest.fixture(
    params=[
        pytest.param(_pickled, id="pickle"),
        pytest.param(
            _network,
            id="torch",
            marks=pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs drivetrain[torch]"),
        ),
    ]
)
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """A project whose model has a class of its own, trained twice: the class was another one at first."""
    written = request.param
    found = Project(
        tmp_path, dedent(SYSTEM), models__py=written(2.0, "first"), drivetrain__toml="[store]\nallow_pickle = true\n"
    )
    found.run()
    found.write("models.py", written(3.0, "second"))
    second = found.command("run")
    # The champion is judged beside it, by the class that it was trained with, and is exact.
    assert second.returncode == 3, second.stdout + second.stderr
    assert "did not pass" in second.stdout + second.stderr
    return found


@pytest.mark.filterwarnings("ignore::drivetrain.errors.UnsafePickle")
def test_a_model_is_read_with_the_classes_that_it_was_trained_with(project: Project) -> None:
    store = Store.open(project.folder / ".drivetrain", allow_pickle=True)

    answers = {
        version.id: Predictor.load(store, version).answer([(5.0,)]).predictions
        for version in store.ledger.find(Version, order="number")
    }

    assert answers == {"scaled@1": [10.0], "scaled@2": [15.0]}
    assert "models" not in sys.modules


def test_what_was_imported_before_is_found_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(project.folder / ".drivetrain", allow_pickle=True)
    mine = sys.modules["json"]
    monkeypatch.setitem(sys.modules, "models", mine)
    (first, _) = store.ledger.find(Version, order="number")
    path = list(sys.path)

    with bundle.as_trained(store, first):
        assert sys.modules["models"] is not mine
        assert hasattr(sys.modules["models"], "Made")

    assert sys.modules["models"] is mine
    assert sys.path == path


def test_a_server_answers_by_them(project: Project) -> None:
    with project.served() as server:
        assert server.predict({"a": 5.0})["prediction"] == 10.0
        job = server.client.post("/jobs", json=[{"a": 5.0}, {"a": 6.0}]).json()["id"]
        end = time.monotonic() + 30
        while server.client.get(f"/jobs/{job}").json()["state"] in ("queued", "running") and time.monotonic() < end:
            time.sleep(0.05)
        found = server.client.get(f"/jobs/{job}/result")
        assert [each["prediction"] for each in found.json()["predictions"]] == [10.0, 12.0], found.text

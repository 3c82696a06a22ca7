"""`drivetrain serve --explain-speed`, as a user types it: it tells what takes the time, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.serving.project import Project

from drivetrain.errors import NotFound
from drivetrain.load.bodies import recorded_by
from drivetrain.security.event import Event
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = """
import polars as pl
from sklearn.linear_model import LogisticRegression

import drivetrain as dt


@dt.dataset(label="odd")
def rows(count: int = 200) -> pl.DataFrame:
    return pl.DataFrame({"x": [i / 7 % 1 for i in range(count)], "odd": [i % 2 for i in range(count)]})


@dt.model
def parity(rows: pl.DataFrame) -> LogisticRegression:
    x, y = dt.xy(rows)
    return LogisticRegression().fit(x, y)


service = dt.Service(parity)
gate = dt.Gate(parity)
"""
SHAPED = PLAIN.replace(
    "@dt.model\ndef parity(rows",
    """@dt.features
def shape(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("x", *[(pl.col("x") * n).sin().exp().round(3).alias(f"x{n}") for n in range(80)])


@dt.model
def parity(shape""",
).replace("dt.xy(rows)", "dt.xy(shape)")
SLOW = """
import time

import drivetrain as dt


@dt.predictor
class Slow:
    def predict(self, x: float) -> float:
        time.sleep(0.02)
        return x


service = dt.Service(Slow)
gate = dt.Gate(Slow)
"""
AWAITED = SLOW.replace("import time", "import asyncio").replace("    def", "    async def").replace(
    "time.sleep(0.02)", "await asyncio.sleep(0.02)"
)  # fmt: skip


def explained(project: Project) -> dict[str, Any]:
    done = project.command("serve", "--explain-speed", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert [load["connections"] for load in told["loads"]] == [1, 64]
    for load in told["loads"]:
        for breakdown in (load["p50"], load["p99"]):
            assert sum(breakdown["stages_us"].values()) == pytest.approx(breakdown["whole_us"])
        assert load["p50"]["whole_us"] <= load["p99"]["whole_us"]
    assert 1 <= len(told["conclusions"]) <= 3
    return told


def share(told: dict[str, Any], *stages: str) -> float:
    breakdown = told["loads"][0]["p50"]
    return float(sum(breakdown["stages_us"][stage] for stage in stages) / breakdown["whole_us"])


def test_without_a_champion_it_says_what_is_missing(tmp_path: Path) -> None:
    done = Project(tmp_path, PLAIN).command("serve", "--explain-speed")

    assert done.returncode == 2
    assert "parity has no champion yet" in done.stderr


def test_an_address_is_not_for_a_server_that_is_thrown_away(tmp_path: Path) -> None:
    done = Project(tmp_path, PLAIN).command("serve", "--explain-speed", "--port", "8001")

    assert done.returncode == 2
    assert "leave --port out" in done.stderr


@pytest.mark.slow
def test_of_a_small_model_the_way_is_most_of_the_time_and_nothing_is_left_behind(tmp_path: Path) -> None:
    project = Project(tmp_path, PLAIN)
    project.run()

    told = explained(project)

    assert (told["build"], told["slow_because"], told["rows_from"]) == ("onnx", "", "200 rows of rows")
    assert "is its way through the network and the server" in told["conclusions"][0]
    assert told["loads"][1]["rows_a_batch"] > 1.5
    store = Store.open(tmp_path / ".drivetrain")
    with pytest.raises(NotFound):
        recorded_by(store, "service")
    assert not list((tmp_path / ".drivetrain").glob("serving/**/*"))
    assert not [event for event in store.ledger.find(Event) if event.kind.startswith(("load", "service"))]
    store.close()


@pytest.mark.slow
def test_slow_features_are_named_and_recorded_requests_are_asked(tmp_path: Path) -> None:
    project = Project(tmp_path, SHAPED)
    project.run()
    with project.served() as server:
        for x in (0.25, 0.5, 0.75):
            server.predict({"x": x})

    told = explained(project)
    shown = project.command("serve", "--explain-speed").stdout

    assert told["rows_from"] == "3 requests from the log of service"
    assert share(told, "features") > max(share(told, "model"), share(told, "way in", "way out"), 0.3)
    assert "the features function `shape`" in told["conclusions"][0]
    assert "features function" in shown
    assert "█████" in shown
    assert project.logged("service").height == 3


@pytest.mark.slow
def test_a_slow_class_of_the_users_is_named(tmp_path: Path) -> None:
    project = Project(tmp_path, SLOW)
    project.run()

    told = explained(project)

    assert share(told, "model") > 0.6
    assert "is the model `slow` itself" in told["conclusions"][0]
    assert told["batches"][0]["ms"] >= 20


@pytest.mark.slow
def test_what_a_model_waits_for_is_its_own_time(tmp_path: Path) -> None:
    project = Project(tmp_path, AWAITED)
    project.run()

    told = explained(project)

    assert share(told, "model") > 0.6
    assert "waiting for what the model itself asks" in told["conclusions"][0]
    assert told["batches"] == []
    # They wait side by side.
    assert told["loads"][1]["answers_per_s"] > 5 * told["loads"][0]["answers_per_s"]

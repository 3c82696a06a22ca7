"""A load test in a run: its figures are a gate's to ask for, and nothing of it reaches the service."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.load.toy import toy

import drivetrain as dt
from drivetrain.errors import DeclarationError, UnknownMetric
from drivetrain.load.bodies import recorded_in
from drivetrain.security.event import Event
from drivetrain.store.store import Store
from drivetrain.testing import Lab, decide

SYSTEM = """
import polars as pl
from sklearn.linear_model import LogisticRegression

import drivetrain as dt


@dt.dataset(key="number", label="odd")
def rows(count: int = 200) -> pl.LazyFrame:
    numbers = pl.int_range(count, eager=True)
    return pl.LazyFrame({"number": numbers, "x": numbers / 7 % 1, "y": numbers % 3 / 1.0, "odd": numbers % 2})


@dt.features
def shape(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("number", "x", double=pl.col("y") * 2)


train, test = dt.split(shape, test=0.25)


@dt.model
def parity(train: pl.DataFrame, strength: float = 1.0) -> LogisticRegression:
    x, y = dt.xy(train)
    return LogisticRegression(C=strength).fit(x, y)


service = dt.Service(parity)
speed = dt.LoadTest(service, rate=100, seconds=0.5, warm_up_s=0.2)
gate = dt.Gate(parity, require=[speed.p99_ms < 5000, speed.error_share <= 0, speed.requests_per_s > 0.2 * dt.champion])
"""


def drivetrain(project: Path, *words: str, code: int = 0) -> Any:
    command = [sys.executable, "-m", "drivetrain", *words, "--json"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project that has run once."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "system.py").write_text(SYSTEM)
    drivetrain(folder, "run")
    return folder


def test_a_gate_asks_for_speed_also_beside_the_champion(project: Path) -> None:
    told = drivetrain(project, "run", "--set", "parity.strength=2.0")

    steps = {step["step"]: step for step in told["steps"]}
    figures = steps["speed"]["outputs"]["speed"]["detail"]["metrics"]
    assert figures["requests_per_s"] == pytest.approx(100, rel=0.3)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert steps["gate"]["outputs"]["gate"]["detail"]["outcome"] == "promoted"


def test_nothing_of_a_load_test_is_in_the_log_of_the_service(project: Path) -> None:
    store = Store.open(project / ".drivetrain")

    events = store.ledger.find(Event, {"kind": "load.measured"})

    assert events[0].subject == "parity"
    assert "requests a second of 100" in events[0].message
    assert not list((project / ".drivetrain").glob("serving/*/predictions-*"))
    store.close()


def test_the_same_model_is_not_measured_twice(project: Path) -> None:
    told = drivetrain(project, "run")

    assert {step["step"]: step["state"] for step in told["steps"]}["speed"] == "cached"


def test_the_command_loads_the_champion_and_its_result_is_kept(project: Path) -> None:
    told = drivetrain(project, "load", "--rate", "50", "--seconds", "0.5s", "--warm-up", "0.1s", "--p99", "5s")

    again = drivetrain(project, "show", told["id"])

    assert told["subject"].startswith("parity@")
    assert told["report"]["outcomes"] == {"200": 25}
    assert told["holds"] is True
    assert again["report"] == told["report"]
    assert again["asked"]["rate"] == 50


def test_a_limit_that_does_not_hold_is_told_by_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text("{}")
    asked = ("--body", "body.json", "--rate", "50", "--seconds", "0.3", "--warm-up", "0", "--p99", "0.001ms")

    with toy("plain") as url:  # and no project is needed to ask another's server
        told = drivetrain(tmp_path, "load", "--url", url, *asked, code=1)

    assert told["holds"] is False
    assert told["report"]["answered"] == 15
    assert not (tmp_path / ".drivetrain").exists()


def test_the_log_of_a_service_is_sent_again(project: Path) -> None:
    folder = project / ".drivetrain" / "serving" / "old"
    folder.mkdir(parents=True)
    lines = [
        {"at": 1_000_000 + 50_000 * number, "version": "parity@1", "arm": "champion", "ids": [f"pred-{number}"],
         "keys": None, "requests": [{"number": number, "x": 0.5, "y": 1.0}], "predictions": [0.5]}
        for number in range(5)
    ]  # fmt: skip
    (folder / "predictions-0000000000000-1-a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    with toy("records") as url:
        drivetrain(project, "load", "--url", url, "--replay", "old", "--speed", "2x")
        told = json.load(urllib.request.urlopen(url.replace("predict", "seen")))

    assert [json.loads(body)["number"] for _, body in told] == [0, 1, 2, 3, 4]
    assert told[-1][0] - told[0][0] == pytest.approx(0.1, abs=0.05)


def test_figures_can_be_given_in_place_of_a_load(tmp_path: Path) -> None:
    (tmp_path / "system.py").write_text(SYSTEM.replace("error_share <= 0", "p50_ms < 3"))
    speed = {"p99_ms": 9.0, "p50_ms": 4.0, "requests_per_s": 100.0}
    with Lab() as lab:
        result = lab.run(tmp_path / "system.py", give={"speed": speed})

        assert result.metrics["speed.p99_ms"] == 9.0
        assert result.outcome == "refused"


def test_what_is_no_figure_and_no_model_is_refused() -> None:
    @dt.model
    def learnt(train: object) -> object: ...

    speed = dt.LoadTest(learnt, name="speed")

    with pytest.raises(UnknownMetric, match="p99_ms"):
        _ = speed.p99
    with pytest.raises(DeclarationError, match="neither a service nor a model"):
        dt.LoadTest("learnt")
    assert str(speed.p99_ms < 20) == "speed.p99_ms < 20"
    gate = dt.Gate(learnt, require=[speed.p99_ms < 20])
    assert not decide(gate, {"speed.p99_ms": 21.0})


def test_a_recording_may_be_lines_of_our_log_or_of_others(tmp_path: Path) -> None:
    ours = {"at": 2_000_000, "version": "a@1", "arm": "champion", "ids": ["p", "q"], "keys": None,
            "requests": [{"x": 1}, {"x": 2}], "predictions": [0.1, 0.2]}  # fmt: skip
    others = {"at": 1.5, "body": {"x": 0}}
    path = tmp_path / "asked.ndjson"
    path.write_text("\n".join(json.dumps(each) for each in (ours, others)))

    recording = recorded_in(path)

    assert recording.moments == [1.5, 2.0, 2.0]
    assert recording.bodies == [b'{"x": 0}', b'{"x":1}', b'{"x":2}']


def test_a_version_that_is_there_already_can_be_asked_for_speed_later(tmp_path: Path) -> None:
    (tmp_path / "system.py").write_text(SYSTEM + "\nlater = dt.Gate(parity, require=[speed.max_ms < 3])\n")
    speed = {"p99_ms": 9.0, "error_share": 0.0, "max_ms": 10.0}
    with Lab() as lab:
        lab.run(tmp_path / "system.py", give={"speed": speed}, only="gate")
        first = lab.last.value("gate")
        lab.run(tmp_path / "system.py", give={"speed": speed}, only="later")
        second = lab.last.value("later")

    assert first["version"] == second["version"] == "parity@1"
    assert first["passed"] is False  # no figure of that name was given: requests_per_s
    assert [each["found"] for each in second["judgements"]] == [10.0]


def test_a_model_that_nothing_here_has_trained_is_asked_its_own_example(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("the and")
    (tmp_path / "system.py").write_text("""
from pathlib import Path

import drivetrain as dt


@dt.predictor(files={"words": "words.txt"})
class English:
    def load(self, words: Path) -> None:
        self.words = set(words.read_text().split())

    def predict(self, text: list[str]) -> list[float]:
        return [float(bool(self.words & set(each.split()))) for each in text]


speed = dt.LoadTest(English, rate=50, seconds=0.4, warm_up_s=0.1)
gate = dt.Gate(English, require=[speed.error_share <= 0])
""")

    told = drivetrain(tmp_path, "run")

    assert {step["step"]: step["state"] for step in told["steps"]}["gate"] == "finished"

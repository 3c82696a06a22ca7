"""Sweeps: a run for each combination, what is shared once, and the best at the top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.project import Project

from drivetrain.errors import UsageError
from drivetrain.pipeline.sweep import Trial, parse_sweep, ranked

SYSTEM = """
from pathlib import Path

import drivetrain as dt


@dt.step
def rows() -> int:
    with open(Path(__file__).parent / "calls.txt", "a") as file:
        file.write("rows\\n")
    return 10


@dt.step
def fitted(rows: int, rate: float = 0.1, depth: int = 3) -> float:
    if depth == 0:
        raise ValueError("no depth")
    return rows * rate + depth


@dt.evaluation
def quality(fitted: float) -> dict[str, float]:
    return {"score": fitted, "loss": 1 / fitted}


asked = dt.Approval(quality)


@dt.step(when=asked)
def shipped(fitted: float) -> float:
    return fitted
"""


@pytest.fixture
def swept(project: Project) -> Project:
    project.write(SYSTEM)
    return project


def settings(result: dict[str, Any]) -> list[tuple[float, int]]:
    return [(trial["settings"]["fitted.rate"], trial["settings"]["fitted.depth"]) for trial in result["trials"]]


def test_each_combination_is_a_run_and_the_best_comes_first(swept: Project) -> None:
    told = swept.json("run", "--sweep", "fitted.rate=0.1,0.2", "--sweep", "fitted.depth=1,5")
    assert told["by"] == "quality.score"
    assert settings(told) == [(0.2, 5), (0.1, 5), (0.2, 1), (0.1, 1)]
    assert told["next"] == "drivetrain run --set fitted.rate=0.2 --set fitted.depth=5"
    assert (swept.root / "calls.txt").read_text() == "rows\n", "what the runs share ran once"
    runs = swept.json("runs", f"tag = {told['sweep']}")
    assert len(runs) == 4
    assert {run["run"]["reason"].partition(":")[0] for run in runs} == {"sweep"}
    assert {step["step"] for run in runs for step in run["steps"]} == {"rows", "fitted", "quality"}
    assert swept.json("approve") == [], "nobody is asked"


def test_the_least_may_be_the_best_and_a_loss_is_known_to_be(swept: Project) -> None:
    by_loss = ("run", "--sweep", "fitted.depth=1,5", "--sweep", "fitted.rate=0.1", "--by", "quality.loss")
    assert settings(swept.json(*by_loss))[0] == (0.1, 1)
    assert settings(swept.json(*by_loss, "--least"))[0] == (0.1, 5)


def test_a_combination_that_fails_does_not_stop_the_others(swept: Project) -> None:
    done = swept.command("run", "--sweep", "fitted.depth=0,2,4", check=1)
    lines = done.stdout.splitlines()
    assert sum(line.startswith("✓ ") for line in lines) == 2
    assert "1 run failed:" in done.stdout
    assert "fitted.depth=0: step 'fitted' failed: ValueError: no depth" in done.stdout
    assert "Next: `drivetrain run --set fitted.depth=4`" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--sweep", "fitted.dpth=1,2"), "did you mean fitted.depth"),
        (("--sweep", "fitted.depth"), "part.setting=value,value"),
        (("--sweep", "fitted.depth=1", "--set", "fitted.depth=2"), "both swept and set"),
        (("--sweep", "fitted.depth=1,2", "--by", "qualty.score"), "did you mean quality"),
        (("--sweep", "fitted.depth=1,2", "--force", "rows"), "forces nothing"),
        (("--sweep", "fitted.depth=x,y"), "fitted.depth"),
        (("rows", "--sweep", "fitted.depth=1,2"), "no step of these runs"),
        (("--by", "quality.score"), "nothing is swept"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_runs(
    swept: Project, given: tuple[str, ...], told: str
) -> None:
    refused = swept.command("run", *given, check=2)
    assert told in refused.stderr
    assert not (swept.root / "calls.txt").exists()


def test_values_may_be_lists_and_text() -> None:
    assert parse_sweep(["a.b=[1,2],[3]"]) == [{"a.b": [1, 2]}, {"a.b": [3]}]
    assert parse_sweep(["a.b=adam,sgd"]) == [{"a.b": "adam"}, {"a.b": "sgd"}]
    with pytest.raises(UsageError, match="runs"):
        parse_sweep([f"a.{name}={','.join(map(str, range(30)))}" for name in "bcd"])


def test_a_figure_that_is_none_comes_last() -> None:
    trials = [
        Trial(settings={}, run=name, state="finished", metrics={"q.auc": value})
        for name, value in (("none", None), ("low", 0.1), ("nan", float("nan")), ("high", 0.9))
    ]
    assert [trial.run for trial in ranked(trials, "q.auc")] == ["high", "low", "none", "nan"]
    assert [trial.run for trial in ranked(trials, "q.auc", least_first=True)] == ["low", "high", "none", "nan"]


def test_what_is_printed_by_runs_at_once_stays_in_their_logs(project: Project, tmp_path: Path) -> None:
    project.write(
        "import time\n\nimport drivetrain as dt\n\n\n@dt.step\ndef told(number: int = 0) -> int:\n"
        "    for _ in range(20):\n        print('number', number)\n        time.sleep(0.01)\n    return number\n"
    )
    done = project.command("run", "--sweep", "told.number=1,2,3,4", "--workers", "4")
    assert "number 1" not in done.stdout
    for run in project.json("runs"):
        (step,) = run["steps"]
        text = project.command("logs", run["run"]["id"], "told").stdout
        assert text == f"number {step['settings']['number']}\n" * 20

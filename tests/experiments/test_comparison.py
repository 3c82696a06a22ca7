from __future__ import annotations

import pytest
from tests.project import Project

from drivetrain.errors import NotFound, UsageError
from drivetrain.experiments.comparison import compare

SYSTEM = """
import drivetrain as dt


@dt.dataset
def rows(many: int = 3) -> list:
    return list(range(many))


@dt.step
def fit(rows: list, rate: float = 0.1) -> int:
    for number in range(4):
        dt.log("loss", rate / (number + 1))
    return 1
"""


@pytest.fixture
def twice(project: Project) -> Project:
    project.write(SYSTEM.replace("@dt.dataset", "@dt.step"))
    project.command("run", "--tag", "base")
    project.write(SYSTEM.replace("@dt.dataset", "@dt.step").replace("rate / (", "2 * rate / ("))
    project.command("run", "--set", "fit.rate=0.5", "--tag", "other", "--tag", "best")
    return project


def test_only_what_differs_is_shown(twice: Project) -> None:
    ledger = twice.store().ledger
    first, second = (run["run"]["id"] for run in reversed(twice.json("runs")))

    found = compare(ledger, [first, "latest"])

    assert [side.run.id for side in found.sides] == [first, second]
    assert [side.tags for side in found.sides] == [["base"], ["other", "best"]]
    assert [(row.name, row.values) for row in found.settings.differing] == [("fit.rate", [0.1, 0.5])]
    assert found.settings.same == 1
    assert [(row.name, row.values) for row in found.metrics.differing] == [("fit.loss", [0.025, 0.25])]
    (change,) = found.code
    assert change.name == "system.fit"
    assert '+        dt.log("loss", 2 * rate / (number + 1))' in change.diff
    (curves,) = found.curves
    assert [len(line) for line in curves.lines] == [4, 4]
    assert not found.environment.differing


def test_the_command_shows_it_and_gives_it_as_json(twice: Project) -> None:
    first = twice.json("runs")[-1]["run"]["id"]

    shown = twice.command("compare", first, "latest").stdout
    body = twice.json("compare", first, "latest")

    assert "fit.rate" in shown
    assert "+0.225" in shown
    assert "▁" in shown
    assert "+        dt.log" in shown
    assert body["metrics"]["differing"][0]["values"] == [0.025, 0.25]


def test_what_cannot_be_compared_is_told(twice: Project) -> None:
    ledger = twice.store().ledger
    with pytest.raises(UsageError, match="1 runs are named"):
        compare(ledger, ["latest", "latest"])
    with pytest.raises(NotFound):
        compare(ledger, ["latest", "run-nowhere"])


def test_runs_are_filtered_sorted_tagged_and_commented(twice: Project) -> None:
    assert len(twice.json("runs", "fit.loss > 0.1 and tag = best")) == 1
    (largest, _) = twice.json("runs", "--sort", "-fit.loss", "--columns", "fit.rate")
    assert largest["figures"] == {"fit.loss": 0.25, "fit.rate": 0.5}
    assert twice.json("tag", "latest", "best", "--remove")["tags"] == ["other"]
    assert not twice.json("runs", "tag = best")
    twice.command("note", "latest", "worth a second look")
    assert "worth a second look" in twice.command("show", "latest").stdout
    refused = twice.command("runs", "fit.lss > 0.1", check=2).stderr
    assert "\n  fit.lss > 0.1\n  ^^^^^^^\n  → did you mean fit.loss?" in refused

"""The page of a comparison: curves over each other, of which none is hidden without a word."""

from __future__ import annotations

from tests.project import Project
from tests.ui.conftest import Visitor

from drivetrain.system.load import load_system

SYSTEM = """
import drivetrain as dt


@dt.step
def fit(rate: float = 0.1, note: str = "") -> int:
    for number in range(4):
        dt.log("loss", rate / (number + 1))
    return 1
"""


def test_curves_that_lie_on_one_another_are_one_line_that_names_all_of_its_runs(project: Project) -> None:
    project.write(SYSTEM)
    for words in (["fit.rate=0.5"], ["fit.rate=0.1", "fit.note=a"], ["fit.rate=0.1", "fit.note=b"]):
        project.command("run", *(part for word in words for part in ("--set", word)))
    high, first, second = (each["run"]["id"] for each in reversed(project.json("runs")))
    visitor = Visitor(project.store(), load_system(project.root / "system.py"), {})

    page = visitor.ask(f"/compare?runs={first},{high},{second}").text
    (chart,) = visitor.ask(f"/api/compare?runs={first},{high},{second}").json()["charts"]

    assert [line["label"] for line in chart["lines"]] == [f"{first} (also: {second})", high]
    assert [line["values"][0] for line in chart["lines"]] == [0.1, 0.5]
    assert f"{first} (also: {second})" in page

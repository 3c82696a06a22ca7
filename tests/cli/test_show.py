"""`drivetrain show RUN`, as a user sees it."""

from __future__ import annotations

from tests.project import Project

SYSTEM = """
import drivetrain as dt


@dt.step
def trained() -> dict:
    for epoch in range(5):
        dt.log("loss", 1.0 / 2**epoch, step=epoch)
    dt.log("rows", 1234)
    return {"done": True}


@dt.step
def after(trained: dict, power: int = 1) -> int:
    dt.log("power", power)
    return power
"""


def test_a_run_shows_what_was_logged_also_by_steps_that_did_not_run_again(project: Project) -> None:
    project.write(SYSTEM)
    project.command("run")
    project.command("run", "--set", "after.power=3")

    rows = [line.split() for line in project.command("show", "latest").stdout.splitlines()]

    assert ["trained.loss", "0.0625", "0.0625", "1", "█▄▂▁▁"] in rows
    assert ["trained.rows", "1,234"] in rows or ["trained.rows", "1234"] in rows
    assert ["after.power", "3"] in rows
    assert [row[0] for row in rows if "cached" in row or "finished" in row][1:] == ["trained", "after"]
    assert project.json("show", "latest")["curves"]["trained.loss"] == [1.0, 0.5, 0.25, 0.125, 0.0625]


def test_without_curves_the_table_has_no_columns_for_them(project: Project) -> None:
    project.write(SYSTEM.replace("range(5)", "range(1)"))
    project.command("run")
    assert "curve" not in project.command("show", "latest").stdout

"""Commands that read, where there is nothing to read: they say so, and leave the folder as it was."""

from __future__ import annotations

import msgspec
import pytest
from tests.project import Project

SYSTEM = "import drivetrain as dt\n\n\n@dt.step\ndef answer() -> int:\n    return 42\n"

READING = [
    ("runs",), ("models",), ("show", "latest"), ("why", "size@1"), ("why", "pred-1m85mbzaw0000pkd78"),
    ("promote", "size@1"), ("rollback",),
]  # fmt: skip


def files(project: Project) -> set[str]:
    """Return what is in the folder; importing the system leaves Python's own cache."""
    return {path.name for path in project.root.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("words", [*READING, ("doctor",), ("show",), ("why",)], ids=" ".join)
def test_outside_of_a_project_nothing_is_created(project: Project, words: tuple[str, ...]) -> None:
    done = project.command(*words, check=None)
    assert done.returncode in (1, 2)
    assert "`drivetrain init`" in done.stdout + done.stderr
    assert files(project) == set()


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_before_the_first_run_they_say_what_is_next(project: Project, words: tuple[str, ...]) -> None:
    project.write(SYSTEM)
    done = project.command(*words, check=None)
    told = done.stdout + done.stderr
    assert told.startswith("Nothing here yet: ")
    assert "Next: `drivetrain run`" in told
    assert files(project) == {"system.py"}


def test_a_list_of_nothing_is_a_list_in_json(project: Project) -> None:
    project.write(SYSTEM)
    assert project.json("runs") == []
    assert project.json("models")["versions"] == []
    assert msgspec.json.decode(project.command("show", "latest", "--json", check=2).stderr)["remedy"]


def test_before_the_first_run_the_system_is_drawn_and_every_step_would_run(project: Project) -> None:
    project.write(SYSTEM)
    assert "answer" in project.command("show").stdout
    assert project.json("why")[0]["verdict"] == "miss"
    assert "nothing has run yet" in project.command("doctor").stdout
    assert files(project) == {"system.py"}

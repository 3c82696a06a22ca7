"""What is asked wrongly is refused at one look: what is wrong, what would be right, and no traceback."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.cli.test_models import registered
from tests.project import Project

from drivetrain.registry.registry import point_alias

SYSTEM = "import drivetrain as dt\n\n\n@dt.step\ndef answer(power: int = 1) -> int:\n    return 42**power\n"


def bare(project: Project) -> None:
    """Leave the folder empty."""


def written(project: Project) -> None:
    """Write a system that has not run."""
    project.write(SYSTEM)


def broken(project: Project) -> None:
    """Write a system with a slip of the pen."""
    project.write(SYSTEM + "x = 1 +\n")


def released(project: Project) -> None:
    """Write a system whose store has a champion, and no earlier one."""
    project.write(SYSTEM)
    store = project.store()
    registered(store, "size", 1)
    point_alias(store.ledger, "size", "champion", "size@1", reason="it passed", actor="gate")


@pytest.mark.parametrize(
    ("given", "command", "told"),
    [
        (bare, "run", "there is no system.py in "),
        (bare, "ui", "there is no system.py in "),
        (broken, "run", "system.py:7: invalid syntax: x = 1 +"),
        (broken, "why", "system.py:7: invalid syntax: x = 1 +"),
        (written, "init", ". already has system.py"),
        (written, "init system.py", "system.py is a file"),
        (written, "run --set power=2", "'power=2' is not a setting"),
        (written, "run --set answer.pwer=2", "did you mean answer.power?"),
        (written, "run --set answer.power=x", "the setting answer.power is 'x'"),
        (written, "run --force x", "no step of this run is named 'x'"),
        (written, "run --resaon=x", "did you mean --reason?"),
        (written, "run --fille=x", "did you mean --file?"),
        (written, "promote --file=x size@1", "`drivetrain promote --help` shows how it is used"),
        (released, "rollback --file system.py", "no model that has been trained is declared in system.py"),
        (released, "show run-1", "no run 'run-1' is known"),
        (released, "runs --limit 0", "--limit is 0"),
        (released, "models sice", "did you mean size?"),
        (released, "promote size@7", "did you mean size@1?"),
        (released, "promote size@1", "size@1 is the champion already"),
        (released, "rollback", "size has no earlier champion to go back to"),
        (released, "rollback sice", "did you mean size?"),
    ],
)
def test_a_wrong_question_gets_a_plain_answer(
    project: Project, given: Callable[[Project], None], command: str, told: str
) -> None:
    given(project)
    had_a_store = (project.root / ".drivetrain").exists()

    done = project.command(*command.split(), check=2)

    assert told in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert (project.root / ".drivetrain").exists() == had_a_store


def test_init_leaves_what_is_there_and_says_what_to_ignore(project: Project) -> None:
    project.write("data/\n", ".gitignore")
    project.write("notes", "notes.txt")
    told = project.command("init").stdout
    assert "wrote system.py, test_system.py, drivetrain.toml into ." in told
    assert ".drivetrain/" in told
    assert (project.root / ".gitignore").read_text() == "data/\n"


def test_doctor_looks_at_the_file_that_is_named_in_one_line_each(project: Project) -> None:
    project.write(SYSTEM)
    project.write("x = 1 +\n", "other.py")
    lines = project.command("doctor", "--file", "other.py", check=1).stdout.splitlines()
    assert ["system", "bad", "other.py:1:", "invalid", "syntax:", "x", "=", "1", "+"] in [
        line.split() for line in lines
    ]
    assert all(line.split()[1] in ("state", "ok", "missing", "bad") for line in lines[: lines.index("")])


def test_one_step_is_one_step(project: Project) -> None:
    project.write(SYSTEM)
    assert ": 1 step run, 0 unchanged" in project.command("run").stdout

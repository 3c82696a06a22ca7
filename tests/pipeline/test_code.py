"""A step runs again when, and only when, something it depends on has changed."""

from __future__ import annotations

from tests.project import Project

HELPERS = '''"""Helpers."""

FACTOR = 2


def scale(x, by=FACTOR):
    """Scale."""
    return x * by


class Scaler:
    offset = 1

    def apply(self, x):
        return scale(x) + self.offset


def unused(x):
    return x
'''
SYSTEM = '''"""A system."""

import helpers
import drivetrain as dt

LIMIT = 10
NAMES = {"a", "b", "c", "d"}


def clip(x):
    # keeps it small
    return min(x, LIMIT)


def make():
    step = 3

    def inner(x):
        return x + step

    return inner


closed = make()


@dt.step
def source() -> int:
    return 4


@dt.step
def target(source: int, depth: int = 1) -> int:
    """Doc."""
    known = "a" in NAMES
    few = len([n for n in ("x", "y") if n in {"x", "z"}])
    return clip(helpers.Scaler().apply(source)) + depth + closed(known) + few
'''


def test_the_same_code_has_the_same_key_in_every_process(project: Project) -> None:
    project.write(HELPERS, "helpers.py")
    project.write(SYSTEM)
    project.command("run", PYTHONHASHSEED="1")
    steps = project.command("run", "--json", PYTHONHASHSEED="2").stdout
    assert '"finished"' not in steps.partition('"steps"')[2]


def test_what_cannot_be_followed_is_told_with_its_place(project: Project) -> None:
    project.write(
        "import drivetrain as dt\n\n\ndef things():\n    yield 1\n\n\nthing = things()\n\n\n"
        "@dt.step\ndef rows() -> str:\n    return str(type(thing))\n"
    )
    told = project.command("run").stderr
    assert "'thing' is generator, whose contents cannot be followed" in told
    assert "system.py:11" in told


def test_why_shows_the_lines_that_changed(project: Project) -> None:
    project.write(HELPERS, "helpers.py")
    project.write(SYSTEM)
    project.command("run")
    project.write(HELPERS.replace("x * by", "x ** by"), "helpers.py")
    told = project.command("why", "target").stdout
    assert "target will run" in told
    assert "code of helpers.scale changed" in told
    assert "-    return x * by" in told
    assert "+    return x ** by" in told


def test_why_names_the_run_in_which_the_step_ran(project: Project) -> None:
    text = "import drivetrain as dt\n\n\n@dt.step\ndef rows(n: int = 1) -> list:\n    return [n]\n"
    project.write(text)
    ran = project.json("run")["run"]["id"]
    project.json("run")
    project.write(text.replace("= 1", "= 2"))
    assert f"It last ran in {ran}, just now, for " in project.command("why", "rows").stdout


def test_a_deleted_artifact_is_a_reason_to_run(project: Project) -> None:
    project.write("import drivetrain as dt\n\n\n@dt.step\ndef rows() -> list:\n    return [1]\n")
    project.command("run")
    for path in (project.root / ".drivetrain/artifacts/sha256").glob("*/*"):
        path.unlink()
    assert "its output rows was deleted" in project.command("why", "rows").stdout
    (step,) = project.json("run")["steps"]
    assert step["state"] == "finished"
    assert step["reason"] == "its output rows was deleted"


def test_a_function_that_names_itself_through_another_module_is_followed_once(project: Project) -> None:
    text = "import drivetrain as dt\n\n\n@dt.step\ndef rows() -> list:\n    return [1]\n"
    project.write(text, "honest.py")
    project.write(
        "import honest\nimport drivetrain as dt\n\n\n@dt.step\ndef rows() -> list:\n    return honest.rows()\n"
    )
    assert project.json("run")["run"]["state"] == "finished"

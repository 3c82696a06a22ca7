"""A step runs again when, and only when, something it depends on has changed."""

from __future__ import annotations

import pytest
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
# What is edited → (file, old text, new text, does `target` run again?)
EDITS = {
    "nothing": ("system.py", "LIMIT = 10", "LIMIT = 10", False),
    "a comment": ("system.py", "# keeps it small", "# keeps it rather small", False),
    "a docstring": ("system.py", '"""Doc."""', '"""Other doc."""', False),
    "formatting": ("system.py", "return min(x, LIMIT)", "return min(\n        x,\n        LIMIT,\n    )", False),
    "blank lines": ("system.py", "LIMIT = 10\n", "LIMIT = 10\n\n\n", False),
    "a helper's docstring": ("helpers.py", '"""Scale."""', '"""Scale it."""', False),
    "a function nobody calls": ("helpers.py", "return x\n", "return x + 1\n", False),
    "its own body": ("system.py", "+ depth +", "+ 2 * depth +", True),
    "a default": ("system.py", "depth: int = 1", "depth: int = 2", True),
    "a helper": ("system.py", "min(x, LIMIT)", "max(x, LIMIT)", True),
    "a constant": ("system.py", "LIMIT = 10", "LIMIT = 11", True),
    "a set constant": ("system.py", '"c", "d"}', '"c", "e"}', True),
    "a method in another module": ("helpers.py", "scale(x) + self", "scale(x) - self", True),
    "a class attribute": ("helpers.py", "offset = 1", "offset = 2", True),
    "a function two calls away": ("helpers.py", "return x * by", "return x / by", True),
    "a default two calls away": ("helpers.py", "FACTOR = 2", "FACTOR = 3", True),
    "a closed-over value": ("system.py", "step = 3", "step = 5", True),
    "an inner function": ("system.py", "return x + step", "return x - step", True),
    "an inner set": ("system.py", '{"x", "z"}', '{"x", "y"}', True),
    "the input's value": ("system.py", "return 4", "return 5", True),
    "the input's code, not its value": ("system.py", "return 4", "return 2 + 2 + 0", False),
    "a new input": ("system.py", "source: int, depth", "source: int, other: int, depth", True),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_has_its_right_verdict(edit: str, project: Project) -> None:
    file, old, new, runs = EDITS[edit]
    texts = {"helpers.py": HELPERS, "system.py": SYSTEM}
    for name, text in texts.items():
        project.write(text, name)
    project.command("run", "target")
    edited = texts[file].replace(old, new, 1)
    assert (edited != texts[file]) or edit == "nothing"
    if edit == "a new input":
        edited += "\n\n@dt.step\ndef other() -> int:\n    return 1\n"
    project.write(edited, file)
    steps = {step["step"]: step for step in project.json("run", "target")["steps"]}
    assert (steps["target"]["state"] == "finished") == runs, steps["target"]["reason"]


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

"""Every wiring mistake is found before anything runs, and its message says where and what would be right."""

from __future__ import annotations

import pytest
from tests.project import Project

from drivetrain.errors import DeclarationError
from drivetrain.system.load import load_system
from drivetrain.system.system import System

HEAD = "import drivetrain as dt\n\n"
ONE = "@dt.step\ndef rows() -> list:\n    return [1]\n\n"

MISTAKES = {
    "unknown input": (
        ONE + "@dt.step\ndef total(rwos: list) -> int:\n    return sum(rwos)\n",
        ["no input is named 'rwos'", "did you mean rows?", "system.py:7"],
    ),
    "cycle": (
        "@dt.step\ndef a(b: int) -> int:\n    return b\n\n@dt.step\ndef b(a: int) -> int:\n    return a\n",
        ["these parts need each other", "a → b → a"],
    ),
    "duplicate": (
        "@dt.step(outputs=['x', 'y'])\ndef p() -> tuple[int, int]:\n    return 1, 2\n\n"
        "@dt.step\ndef x() -> int:\n    return 1\n",
        ["'x' is declared already at", "rename one of the two"],
    ),
    "missing annotation": (
        "@dt.step\ndef rows():\n    return [1]\n",
        ["'rows' does not say what it returns", "-> pl.DataFrame", "system.py:3"],
    ),
    "unserialisable default": (
        "@dt.step\ndef rows(source=object()) -> list:\n    return [1]\n",
        ["the setting rows.source is object", "give it a number"],
    ),
    "variable parameters": (
        "@dt.step\ndef rows(*args) -> list:\n    return [1]\n",
        ["takes *args or **kwargs", "name each input"],
    ),
    "decorator without function": (
        "@dt.step\nclass Rows:\n    pass\n",
        ["not a plain function"],
    ),
    "syntax": ("def rows(:\n    pass\n", ["system.py:3"]),
    "import": ("import json\njson.loads('x')\n", ["importing system.py raised JSONDecodeError", "system.py:4"]),
    "module": ("import lightgbmm\n", ["found no module 'lightgbmm'", "system.py:3", "install its package for "]),
    "annotation of nothing": (
        "from __future__ import annotations\n@dt.step\ndef rows() -> Rows:\n    return [1]\n",
        ["an annotation of 'rows' cannot be understood", "Rows"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_remedy(mistake: str, project: Project) -> None:
    text, told = MISTAKES[mistake]
    path = project.write((HEAD if "__future__" not in text else "") + text.replace("@dt", "@dt", 1))
    if "__future__" in text:
        path = project.write(text.replace("import annotations\n", "import annotations\nimport drivetrain as dt\n"))
    with pytest.raises(DeclarationError) as raised:
        load_system(path)
    for part in told:
        assert part in str(raised.value)


def test_importing_a_file_runs_none_of_its_functions(project: Project) -> None:
    path = project.write(HEAD + "@dt.step\ndef rows() -> list:\n    raise RuntimeError('ran')\n")
    assert list(load_system(path).parts) == ["rows"]


def test_a_declared_function_is_still_a_function(project: Project) -> None:
    system = load_system(project.write(HEAD + "@dt.step\ndef double(x: int = 2) -> int:\n    return 2 * x\n"))
    double = system.parts["double"]
    assert callable(double)
    assert double(x=4) == 8


def test_a_chain_of_ten_thousand_parts_is_put_in_order() -> None:
    from drivetrain.system.function import Step

    space: dict[str, object] = {}
    source = "def s0() -> int:\n    return 0\n" + "".join(
        f"def s{i}(s{i - 1}: int) -> int:\n    return 0\n" for i in range(1, 10_000)
    )
    exec(compile(source, "chain.py", "exec"), space)
    parts = [Step.of(space[f"s{i}"]) for i in reversed(range(10_000))]  # type: ignore[arg-type]
    system = System("chain", *parts)
    assert list(system.parts)[:3] == ["s0", "s1", "s2"]
    assert len(system.upstream("s9999")) == 10_000


def test_several_outputs_of_one_step_are_inputs_of_their_own(project: Project) -> None:
    project.write(
        HEAD + "@dt.step(outputs=['small', 'large'])\ndef halves() -> tuple[int, int]:\n    return 1, 9\n\n"
        "@dt.step\ndef gap(large: int, small: int) -> int:\n    return large - small\n"
    )
    project.command("run")
    store = project.store()
    from drivetrain.pipeline.run import StepRun

    (step,) = store.ledger.find(StepRun, {"step": "gap"})
    assert store.value(step.outputs["gap"]) == 8


def test_an_explicit_system_wins_over_the_module(project: Project) -> None:
    path = project.write(HEAD + ONE + "@dt.step\ndef other() -> int:\n    return 1\n\nmine = dt.System('mine', rows)\n")
    system = load_system(path)
    assert system.name == "mine"
    assert list(system.parts) == ["rows"]

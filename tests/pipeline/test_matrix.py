"""Each kind of edit to a project has its right verdict before the run, with its cause, and its right effect."""

# ruff: noqa: E501

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.pipeline.workshop import FILES
from tests.project import Project

from drivetrain.pipeline.engine import Execution
from drivetrain.pipeline.plan import make_plan
from drivetrain.pipeline.run import StepRun
from drivetrain.pipeline.why import Verdict, why
from drivetrain.store.store import Store
from drivetrain.system.load import load_system


class Edit(NamedTuple):
    """A change to one file, and the words with which `why` names it; without words, the step does not run."""

    file: str
    old: str
    new: str
    words: str = ""


NOT_COUNTED = {
    "nothing": Edit("system.py", "LIMIT = 10", "LIMIT = 10"),
    "a comment": Edit("system.py", "# keeps it small", "# keeps it rather small"),
    "a comment less": Edit("system.py", "    # keeps it small\n", ""),
    "the step's docstring": Edit("system.py", '"""Doc."""', '"""Other doc."""'),
    "the step's docstring gone": Edit("system.py", '    """Doc."""\n', ""),
    "a helper's docstring": Edit("helpers.py", '"""Scale."""', '"""Scale it."""'),
    "a new docstring": Edit("helpers.py", "def one(x):\n", 'def one(x):\n    """One."""\n'),
    "an inner function's docstring": Edit("helpers.py", '"""Inside."""', '"""Within."""'),
    "a class's docstring": Edit("shapes.py", '"""A base."""', '"""The base."""'),
    "a class's new docstring": Edit("shapes.py", "class Child(Base):\n", 'class Child(Base):\n    """A child."""\n\n'),
    "a property's docstring": Edit("shapes.py", '"""Twice."""', '"""Two times."""'),
    "a module's docstring": Edit("pack/inner.py", '"""Inner."""', '"""Other."""'),
    "a reflowed call": Edit("system.py", "return min(x, LIMIT)", "return min(\n        x,\n        LIMIT,\n    )"),
    "a reflowed comprehension": Edit(
        "system.py",
        'words = [w for w in ("a", "z") if w in helpers.WORDS and w != "q"]',
        'words = [\n        w\n        for w in ("a", "z")\n        if w in helpers.WORDS\n        and w != "q"\n    ]',
    ),
    "a reflowed condition": Edit(
        "cycle_a.py", "return True if n == 0 else", "return (\n        True\n        if n == 0\n        else"
    ),
    "other quotes": Edit("system.py", '"WORKSHOP_URL", ""', "'WORKSHOP_URL', ''"),
    "blank lines": Edit("system.py", "LIMIT = 10\n", "LIMIT = 10\n\n\n\n"),
    "an unrelated function": Edit("helpers.py", "def unused(x):\n    return x", "def unused(x):\n    return x + 1"),
    "an unrelated function beside a re-export": Edit("pack/inner.py", "    return x\n", "    return x + 1\n"),
    "an unrelated class": Edit("shapes.py", "y = 1", "y = 2"),
    "an unrelated constant": Edit("pack/__init__.py", 'KIND = "pack"', 'KIND = "other"'),
    "an unused import": Edit("system.py", "import os\n", "import os\nimport json\n"),
    "another step": Edit("system.py", "def other() -> int:\n    return 1", "def other() -> int:\n    return 2"),
    "a helper's annotation": Edit("helpers.py", "def one(x):", "def one(x: int) -> int:"),
    "an import for the future": Edit("starred.py", "STAR = 5", "from __future__ import annotations\n\nSTAR = 5"),
    "the source's code, not its value": Edit("system.py", "return 4", "return 2 + 1 + 1"),
}
COUNTED = {
    "the step's body": Edit("system.py", "clip(source) + depth", "clip(source) - depth", "code of system.target changed"),
    "a setting's default": Edit("system.py", "depth: int = 1", "depth: int = 2", "setting depth: 1 → 2"),
    "a new setting": Edit("system.py", "depth: int = 1", "depth: int = 1, more: int = 0", "setting more is new"),
    "a new input": Edit("system.py", 'rows: "pl', 'other: int, rows: "pl', "input other is new"),
    "the step's return annotation": Edit("system.py", "1) -> dict:", "1) -> dict[str, object]:", "annotation return"),
    "an input's value": Edit("system.py", "return 4", "return 5", "input source"),
    "a helper": Edit("system.py", "min(x, LIMIT)", "max(x, LIMIT)", "code of system.clip changed"),
    "a constant": Edit("system.py", "LIMIT = 10", "LIMIT = 11", "constant system.LIMIT: 10 → 11"),
    "a constant's type": Edit("system.py", "LIMIT = 10", "LIMIT = 10.0", "constant system.LIMIT: 10 → 10.0"),
    "a literal in a helper": Edit("helpers.py", "    return x + 1\n\n\ndef two", "    return x + 9\n\n\ndef two", "helpers.one"),
    "a default two calls away": Edit("helpers.py", "FACTOR = 2", "FACTOR = 3", "constant helpers.scale(by): 2 → 3"),
    "a mutable default": Edit("helpers.py", "extra=[0]", "extra=[1]", "constant helpers.scale(extra): [0] → [1]"),
    "a wrapped function": Edit("helpers.py", "def decorated(x):\n    return x + 1", "def decorated(x):\n    return x", "helpers.decorated"),
    "a decorator": Edit("helpers.py", "return function(*arguments)", "return function(*arguments) or 0", "helpers.traced"),
    "a function behind lru_cache": Edit("helpers.py", "def cached(x):\n    return x + 2", "def cached(x):\n    return x", "helpers.cached"),
    "a branch of singledispatch": Edit("helpers.py", "return x + 4", "return x + 5", "code of helpers._ changed"),
    "a partial's function": Edit("helpers.py", "a + b, 6", "a - b, 6", "helpers.<lambda>"),
    "a partial's argument": Edit("helpers.py", "a + b, 6", "a + b, 7", "constant helpers.plus"),
    "a function in a table": Edit("helpers.py", "def two(x):\n    return x + 2", "def two(x):\n    return x", "helpers.two"),
    "a table of functions": Edit("helpers.py", '"two": two}', '"three": two}', "constant helpers.HANDLERS"),
    "a closed-over value": Edit("helpers.py", "closed = outer(3)", "closed = outer(4)", "constant helpers.outer.<locals>.inner.step: 3 → 4"),
    "an inner function": Edit("helpers.py", "return x + step", "return x - step", "helpers.outer.<locals>.inner"),
    "a closure over a closure": Edit("helpers.py", "lambda x: f(x)", "lambda x: f(x) + 1", "helpers.<lambda>"),
    "a set": Edit("helpers.py", '{"a", "b", "c"}', '{"a", "b", "d"}', "constant helpers.WORDS"),
    "a pattern": Edit("helpers.py", '"x+"', '"y+"', "constant helpers.PATTERN"),
    "a date": Edit("helpers.py", "date(2013, 1, 1)", "date(2013, 1, 2)", "constant helpers.DAY"),
    "a decimal": Edit("helpers.py", 'Decimal("1.5")', 'Decimal("1.6")', "constant helpers.PRICE"),
    "an array": Edit("helpers.py", "[1.0, 2.0]", "[1.0, 2.5]", "constant helpers.WEIGHTS"),
    "an array's type": Edit("helpers.py", "np.array([1.0, 2.0])", "np.array([1.0, 2.0], dtype='f4')", "constant helpers.WEIGHTS"),
    "a frame": Edit("helpers.py", '{"a": [1, 2]}', '{"a": [1, 3]}', "constant helpers.TABLE"),
    "an expression": Edit("helpers.py", '[pl.col("a")]', '[pl.col("a") + 1]', "constant helpers.COLUMNS"),
    "a path": Edit("helpers.py", '.parent / "data"', '.parent / "other"', "constant helpers.HOME"),
    "a generator": Edit("helpers.py", "range(n)", "range(n + 1)", "helpers.generated"),
    "a coroutine": Edit("helpers.py", "async def waited():\n    return 1", "async def waited():\n    return 2", "helpers.waited"),
    "an assertion": Edit("helpers.py", "x < 1000", "x < 2000", "helpers.checked"),
    "evaluated code": Edit("helpers.py", '"lambda x: x + 1"', '"lambda x: x + 2"', "helpers.<lambda>"),
    "a method": Edit("shapes.py", "self.helper() + self.offset", "self.helper() - self.offset", "code of shapes.Base.total"),
    "a method called through self": Edit("shapes.py", "super().helper() + 10", "super().helper() + 11", "code of shapes.Child.helper"),
    "a base's constructor": Edit("shapes.py", "self.x = x", "self.x = x + 1", "code of shapes.Base.__init__"),
    "a property": Edit("shapes.py", "self.x * 2", "self.x * 3", "code of shapes.Base.double"),
    "a static method": Edit("shapes.py", "return 7", "return 8", "code of shapes.Base.fixed"),
    "a class attribute": Edit("shapes.py", "offset = 1", "offset = 2", "constant shapes.Base.offset: 1 → 2"),
    "a metaclass": Edit("shapes.py", "def made(cls):\n        return 1", "def made(cls):\n        return 2", "code of shapes.Meta.made"),
    "a base class": Edit("shapes.py", "class Child(Base):", "class Mixin:\n    pass\n\n\nclass Child(Mixin, Base):", "code of shapes.Mixin is new"),
    "a dataclass's default": Edit("shapes.py", "x: int = 1", "x: int = 2", "constant shapes.Point.x: 1 → 2"),
    "a dataclass's factory": Edit("shapes.py", '["t"]', '["t", "u"]', "shapes.Point"),
    "a dataclass's option": Edit("shapes.py", "@dataclass\n", "@dataclass(order=True)\n", "shapes.Point"),
    "an enum's value": Edit("shapes.py", "RED = 1", "RED = 3", "shapes.Color"),
    "a named tuple's default": Edit("shapes.py", "right: int = 2", "right: int = 3", "shapes.Pair"),
    "a struct's default": Edit("shapes.py", "size: int = 3", "size: int = 4", "shapes.Packed"),
    "a re-exported function": Edit("pack/inner.py", "deepest(x) + 1", "deepest(x) + 2", "code of pack.inner.reexported"),
    "a function below a relative import": Edit("pack/deeper.py", "x * 1", "x * 2", "code of pack.deeper.deepest"),
    "what a package re-exports": Edit("pack/__init__.py", "import reexported", "import stranger as reexported", "pack.inner.stranger is new"),
    "a starred import": Edit("starred.py", "return x + STAR", "return x - STAR", "code of starred.star"),
    "a constant of a starred import": Edit("starred.py", "STAR = 5", "STAR = 6", "constant starred.STAR: 5 → 6"),
    "mutual recursion": Edit("cycle_b.py", "return False if", "return None if", "code of cycle_b.odd"),
    "a module imported inside": Edit("late.py", "RATE = 2", "RATE = 3", "module late changed"),
    "a module imported by that": Edit("late_too.py", "BASE = 1", "BASE = 2", "module late_too changed"),
    "a name looked up in a module": Edit("dynamic.py", "x + 3", "x + 4", "module dynamic changed"),
    "a patched function": Edit("system.py", "LIMIT = 10\n", "LIMIT = 10\nhelpers.scale = helpers.two\n", "code of helpers.scale is gone"),
    "a declared file": Edit("config.yaml", "limit: 3", "limit: 4", "file config.yaml changed"),
    "a file of a declared pattern": Edit("sql/one.sql", "select 1", "select 2", "file sql/one.sql changed"),
    "the rows of an input's file": Edit("data/rows.csv", "3\n", "3\n4\n", "rows is made anew (file data/rows.csv changed)"),
    "a declared variable less": Edit("system.py", 'env=["WORKSHOP_URL"], ', "", "environment variable WORKSHOP_URL is gone"),
}  # fmt: skip


OPEN: list[Store] = []


def opened(root: Path) -> tuple[Callable[[], Verdict], Callable[[], dict[str, StepRun]]]:
    """Return what says why, and what runs, for the project as its files are now."""
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."), None)
    sys.path[:] = [entry for entry in sys.path if not entry.endswith("/project")]
    plan = make_plan(load_system(root / "system.py"))
    store = Store.open(root / ".drivetrain")
    OPEN.append(store)

    def run() -> dict[str, StepRun]:
        made = Execution(plan, store=store, root=root).execute()
        return {step.step: step for step in store.ledger.find(StepRun, {"run": made.id})}

    return lambda: why("target", plan, store=store, root=root), run


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the project, run once."""
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    root = tmp_path_factory.mktemp("workshop") / "project"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    path = list(sys.path)
    os.environ["WORKSHOP_URL"] = "https://user:hunter2-secret@example.org"
    opened(root)[1]()
    OPEN.pop().close()
    yield root
    del os.environ["WORKSHOP_URL"]
    sys.path[:] = path
    sys.dont_write_bytecode = before


@pytest.fixture
def copy(workshop: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a copy of the project and its store: wherever it lies, its keys are the same."""
    shutil.copytree(workshop, tmp_path / "project")
    yield tmp_path / "project"
    while OPEN:
        OPEN.pop().close()


def edit(root: Path, change: Edit) -> None:
    text = (root / change.file).read_text()
    assert change.old in text
    edited = text.replace(change.old, change.new, 1)
    if edited.count("(\n        True\n        if n == 0") == 1:
        edited = edited.rstrip() + "\n    )\n"
    (root / change.file).write_text(edited)


@pytest.mark.parametrize("name", NOT_COUNTED)
def test_an_edit_that_does_not_count_is_a_hit(name: str, copy: Path) -> None:
    edit(copy, NOT_COUNTED[name])
    tell, run = opened(copy)
    told = tell()
    assert told.verdict == "hit" or (told.verdict == "waits" and name.startswith("the source's code")), told
    assert run()["target"].state == "cached"


@pytest.mark.parametrize("name", COUNTED)
def test_an_edit_that_counts_is_a_miss_and_named(name: str, copy: Path) -> None:
    edit(copy, COUNTED[name])
    tell, run = opened(copy)
    told = tell()
    assert told.verdict in ("miss", "waits"), told
    if told.verdict == "miss":
        assert COUNTED[name].words in "; ".join(told.reasons)
    step = run()["target"]
    assert step.state == "finished"
    after = opened(copy)[0]()
    assert after.verdict == "hit"
    if name not in ("an input's value", "the rows of an input's file"):
        assert COUNTED[name].words in "; ".join(after.ran_because)


KEY = """
import sys
from pathlib import Path

if "trace" in sys.argv:
    sys.settrace(lambda *event: lambda *event: None)
from drivetrain.pipeline.code import CodeReader
from drivetrain.pipeline.key import ingredients_of, key_of
from drivetrain.store.store import Store
from drivetrain.system.load import load_system

root = Path.cwd()
part = load_system(root / "system.py").parts["target"]
made_of, _, warnings = ingredients_of(
    part, code=CodeReader(root), settings=part.settings(), inputs={}, store=Store.open(root / "store"), root=root
)
print(key_of(made_of), warnings)
"""


def test_a_key_is_the_same_in_every_process_and_folder_and_under_a_debugger(workshop: Path, copy: Path) -> None:
    def key(root: Path, seed: str, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", KEY, *arguments],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    keys = [key(workshop, "1"), key(workshop, "2"), key(copy, "3"), key(copy, "4", "trace")]
    assert keys[0].endswith(" []\n"), "nothing in it is beyond a key"
    assert len(set(keys)) == 1


def test_an_editable_package_elsewhere_counts_as_the_users_code(tmp_path: Path) -> None:
    project = Project(tmp_path / "own")
    beside = tmp_path / "beside" / "src" / "sibling"
    beside.mkdir(parents=True)
    (beside / "__init__.py").write_text("def twice(x):\n    return 2 * x\n")
    project.write(
        f"import sys\n\nsys.path.insert(0, {str(beside.parent)!r})\nimport sibling\nimport drivetrain as dt\n\n\n"
        "@dt.step\ndef part() -> int:\n    return sibling.twice(1)\n",
    )
    project.command("run")
    (beside / "__init__.py").write_text("def twice(x):\n    return x + x\n")
    # Python itself takes its compiled copy for current while size and second of the file are the same.
    os.utime(beside / "__init__.py", (1_900_000_000, 1_900_000_000))
    assert "code of sibling.twice changed" in project.command("why", "part").stdout

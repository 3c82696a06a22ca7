"""The docs run, and nothing that a user can type or set is missing from them.

A page is one project in a folder of its own. Its fenced blocks are taken from top to bottom:

- a block with `title="PATH"` is written to that file of the project, whatever its language;
- a `python` block is run, in one namespace a page;
- in a `console` block each line `$ drivetrain …` or `$ python …` is run, and must exit with 0;
- a block in any other language is left alone.

A comment on the line above a block says otherwise: `<!-- notest -->`, or `<!-- exit 2 -->` for another exit code.
Neither GitHub nor the site shows it, while words behind the language would keep the site from seeing a block at all.
"""

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if page.exists()]

# What a console block may call, and what the Python of the tests is given for it.
PROGRAMS = {"drivetrain": ["-c", "import sys; from drivetrain.cli import main; sys.exit(main())"], "python": []}
# Optional libraries without which a page cannot run.
NEEDS = {"moving.md": ("pandas", "pyarrow"), "moving-a-server.md": ("lightgbm", "skl2onnx")}
COMMAND_TIMEOUT_S = 120


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    comment: str
    language: str
    info: str
    text: str

    @property
    def title(self) -> str | None:
        """The file of the project that this block is."""
        match = re.search(r'\btitle="([^"]+)"', self.info)
        return match[1] if match else None

    @property
    def is_left_alone(self) -> bool:
        return self.comment == "notest"

    @property
    def exit_code(self) -> int:
        match = re.fullmatch(r"exit (\d+)", self.comment)
        return int(match[1]) if match else 0

    @property
    def is_understood(self) -> bool:
        """Whether the site sees this as a block, and this file what is to be done with it."""
        comment = re.fullmatch(r"(notest|exit \d+|)", self.comment)
        info = re.fullmatch(r' *((title|hl_lines|linenums)="[^"]*" *)*', self.info)
        return comment is not None and info is not None


FENCE = re.compile(
    r"(?:^<!-- *(?P<comment>[^\n]*?) *-->\n)?^```(?P<language>\w+)(?P<info>[^\n`]*)\n(?P<text>.*?)^```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page that begin in the first column."""
    source = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(source):
        line = source.count("\n", 0, match.start("text")) + 1
        comment, language, info, text = match.group("comment", "language", "info", "text")
        yield Block(page=page, line=line, comment=comment or "", language=language, info=info, text=text)


def test_blocks_are_found_with_what_is_said_about_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('Text\n\n```python title="a.py"\nx = 1\n```\n\n<!-- exit 2 -->\n```console\n$ drivetrain x\n```\n')

    first, second = blocks(page)

    assert (first.language, first.title, first.line, first.text) == ("python", "a.py", 4, "x = 1\n")
    assert (second.language, second.title, second.exit_code) == ("console", None, 2)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_said_about_a_block_is_understood(page: Path) -> None:
    odd = [f"line {block.line - 1}" for block in blocks(page) if not block.is_understood]

    assert not odd, f'only title="…" behind the language, and <!-- notest --> or <!-- exit N --> above: {odd}'


def run_python(block: Block, module: ModuleType) -> None:
    """Run a block as if the page were a module: its functions have a source, at the page's own lines."""
    padded = "\n" * (block.line - 1) + block.text
    exec(compile(padded, str(block.page), "exec"), vars(module))


def run_console(block: Block, project: Path) -> None:
    """Run each command of ours in a block, and each of Python, as a person would in the project's folder."""
    joined = block.text.replace("\\\n", " ")
    for line in joined.splitlines():
        if not line.startswith(("$ drivetrain", "$ python ")):
            continue
        program, *words = shlex.split(line.removeprefix("$ "), comments=True)
        done = subprocess.run(
            [sys.executable, *PROGRAMS[program], *words],
            cwd=project,
            env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        where = f"{block.page.relative_to(ROOT)}, block at line {block.line}"
        assert done.returncode == block.exit_code, f"{where}: {line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in NEEDS.get(page.name, ()):
        pytest.importorskip(library)
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    loaded = set(sys.modules)

    for block in blocks(page):
        if block.is_left_alone:
            continue
        if block.title is not None:
            file = tmp_path / block.title
            assert file.resolve().is_relative_to(tmp_path.resolve())
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            run_python(block, module)
        elif block.language == "console":
            run_console(block, tmp_path)

    # What a page imported from its project must not be found by the next page under the same name.
    for name in set(sys.modules) - loaded:
        file_name = getattr(sys.modules[name], "__file__", None)
        if file_name and Path(file_name).is_relative_to(tmp_path):
            del sys.modules[name]


def all_text() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "CONTRIBUTING.md")


def table_of(module: str, name: str) -> object:
    """Return a table of ours, or skip while there is none."""
    parents = [".".join(module.split(".")[:end]) for end in range(1, module.count(".") + 2)]
    for each in parents:
        if importlib.util.find_spec(each) is None:
            pytest.skip(f"{module} does not exist yet")
    found = getattr(importlib.import_module(module), name, None)
    if found is None:
        pytest.skip(f"{module} has no {name} yet")
    return found


def test_every_command_is_in_the_docs() -> None:
    commands = table_of("drivetrain.cli", "COMMANDS")
    assert isinstance(commands, dict)

    missing = [name for name in commands if not re.search(rf"drivetrain {re.escape(name)}\b", all_text())]
    silent = [name for name, command in commands.items() if not command.help]

    assert not missing, f"show each of these in README.md or docs/, as `drivetrain NAME`: {missing}"
    assert not silent, f"these have no help: {silent}"


def test_every_setting_is_in_the_docs() -> None:
    settings = table_of("drivetrain.system.settings", "SETTINGS")
    assert isinstance(settings, tuple)

    text = all_text()
    missing = [each.name for each in settings if not re.search(rf"`[^`\n]*\b{re.escape(each.name)}\b[^`\n]*`", text)]

    assert not missing, f"explain each of these in docs/, as `{missing[0] if missing else 'name'}`: {missing}"


def test_every_error_is_in_the_docs() -> None:
    errors = importlib.import_module("drivetrain.errors")
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    if not (ROOT / "docs" / "errors.md").exists():
        pytest.skip("docs/errors.md does not exist yet")

    text = all_text()
    missing = [name for name in names if not re.search(rf"\b{name}\b", text)]

    assert not missing, f"say in docs/errors.md what leads to these and what to do: {missing}"


def test_the_reference_pages_are_what_the_code_gives() -> None:
    from docs.generate import PAGES as GENERATED

    for page, write in GENERATED.items():
        found = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert found == write(), f"docs/{page} is behind the code: run `python docs/generate.py`"

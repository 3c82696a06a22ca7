"""Write a first system into a folder: a file to change, its settings, and a test."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import Refused

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen

_FILES = {
    "system.py": "system.py.txt",
    "test_system.py": "test_system.py.txt",
    "drivetrain.toml": "drivetrain.toml.txt",
    ".gitignore": "gitignore.txt",
}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default=".", help="where; the present folder by default")


def execute(options: Namespace, screen: Screen) -> Any:
    folder = Path(options.folder)
    there = [name for name in _FILES if (folder / name).exists()]
    if there:
        raise Refused(
            f"{folder} already has {', '.join(there)}", remedy="choose another folder; nothing has been written"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in _FILES.items():
        text = files("drivetrain.cli").joinpath("first", source).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8")
    return {"folder": str(folder), "files": list(_FILES)}


def show(result: Any, screen: Screen) -> None:
    folder = result["folder"]
    screen.line(f"wrote {', '.join(result['files'])} into {folder}")
    screen.line()
    screen.line("Next:")
    if folder != ".":
        screen.line(f"  cd {folder}")
    screen.line("  drivetrain run      trains, evaluates, passes the gate")
    screen.line("  drivetrain serve    answers requests at http://127.0.0.1:8000")
    screen.line("  drivetrain up       serves, watches, and opens the console at http://127.0.0.1:4200")
    if find_spec("sklearn") is None:
        screen.line()
        screen.line('The first system uses scikit-learn: pip install "drivetrain[sklearn]"')

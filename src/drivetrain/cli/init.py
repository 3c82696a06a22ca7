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

_IGNORED = ".gitignore"
_FILES = {
    "system.py": "system.py.txt",
    "test_system.py": "test_system.py.txt",
    "drivetrain.toml": "drivetrain.toml.txt",
    _IGNORED: "gitignore.txt",
}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default=".", help="where; the present folder by default")


def execute(options: Namespace, screen: Screen) -> Any:
    folder = Path(options.folder)
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is a file", remedy="name a folder; nothing has been written")
    there = [name for name in _FILES if (folder / name).exists() and name != _IGNORED]
    if there:
        raise Refused(
            f"{folder} already has {', '.join(there)}",
            remedy="nothing has been written; `drivetrain run` runs a system that is there, `drivetrain init FOLDER` "
            "begins another one",
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, source in _FILES.items():
        # A folder under git has one already; the user's stays as it is.
        if not (folder / name).exists():
            text = files("drivetrain.cli").joinpath("first", source).read_text(encoding="utf-8")
            (folder / name).write_text(text, encoding="utf-8")
            written.append(name)
    return {"folder": str(folder), "files": written}


def show(result: Any, screen: Screen) -> None:
    folder = result["folder"]
    screen.line(f"wrote {', '.join(result['files'])} into {folder}")
    if _IGNORED not in result["files"]:
        screen.line(f"{_IGNORED} was there already and stays as it is; add a line to it: .drivetrain/")
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

"""What a run with many items shows: bars on a terminal, and a line a step in a pipe."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

from tests.project import Project

SYSTEM = """
import time

import drivetrain as dt


@dt.step(each={"number": list(range(40))})
def rows(number: int) -> int:
    time.sleep(0.05)
    print("number", number)
    return number


@dt.step
def total(rows: list[int]) -> int:
    print("adding up")
    return sum(rows)
"""


def on_a_terminal(project: Project, *words: str) -> str:
    """Return what a command writes to a terminal, without the signs that move the cursor."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "drivetrain", *words],
        cwd=project.root, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    with suppress(OSError):  # the terminal is gone with the process
        while data := os.read(ours, 4096):
            written += data
    os.close(ours)
    assert process.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())


def test_a_terminal_shows_a_bar_with_a_count(project: Project) -> None:
    project.write(SYSTEM)
    told = on_a_terminal(project, "run")
    counts = {int(count) for count in re.findall(r"(\d+) of 40 rows", told)}
    assert len(counts) > 3, "the count grows"
    assert "✓ rows" in told
    assert "total │ adding up" in told
    assert "number 7" not in told


def test_a_pipe_gets_a_line_a_step(project: Project) -> None:
    project.write(SYSTEM)
    lines = project.command("run").stdout.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["✓", "rows"], ["total", "│"], ["✓", "total"]]
    assert "2 steps run with 40 items" in lines[4]
    assert "2 of 2, 40 of 40 items" in project.command("runs").stdout


def test_the_log_of_a_step_of_another_file_is_shown(project: Project) -> None:
    (project.root / "other.py").write_text(SYSTEM)
    project.command("run", "--file", "other.py")
    assert project.command("logs", "total", "--file", "other.py").stdout == "adding up\n"

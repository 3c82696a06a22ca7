"""A project of five steps, run with faults, and looked at without Drivetrain."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.syscalls import CHANGES, Action, Call, Kind, read_trace

ROOT = Path(__file__).parents[2]
STEPS = ("rows", "table", "array", "text", "total")
SYSTEM = """
import os

import numpy as np
import polars as pl

import drivetrain as dt


def note(name):
    handle = os.open({calls!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, name.encode() + b"\\n")
    os.close(handle)


@dt.step
def rows(count: int = {count}) -> list:
    note("rows")
    return [[number, number * 0.5] for number in range(count)]


@dt.step
def table(rows: list) -> pl.DataFrame:
    note("table")
    dt.log("height", len(rows))
    return pl.DataFrame(rows, schema=["a", "b"], orient="row")


@dt.step
def array(table: pl.DataFrame) -> np.ndarray:
    note("array")
    return table["b"].to_numpy()


@dt.step
def text(array: np.ndarray) -> str:
    note("text")
    return " ".join(str(number) for number in array.tolist())


@dt.step
def total(text: str, rows: list) -> dict:
    note("total")
    return {{"sum": sum(float(word) for word in text.split()), "count": len(rows)}}
"""


class Ended(NamedTuple):
    """How a command ended: its exit code (negative: the signal), what it printed, and whether the fault was met."""

    code: int
    out: str
    calls: int
    happened: bool
    kind: Kind

    @property
    def run(self) -> str:
        """The run that finished."""
        return next(line.split()[0] for line in self.out.splitlines() if line.startswith("run-"))

    @property
    def finished(self) -> set[str]:
        """The steps that the user was told are done."""
        return {line.split()[1] for line in self.out.splitlines() if line.startswith("✓")}


class Bench:
    """Runs the project in children of one process, each with the fault that is asked for."""

    def __init__(self, place: Path, library: Path) -> None:
        self.project = place / "project"
        self.store = self.project / ".drivetrain"
        self.calls, self.trace = place / "calls", place / "trace"
        self._out = place / "out"
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forks", str(library)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.clear()
        self._ask({"project": str(self.project), "commands": [["run"]]})
        self.clear()

    def clear(self, count: int = 300) -> None:
        """Begin with an empty project."""
        shutil.rmtree(self.project, ignore_errors=True)
        self.project.mkdir()
        self.calls.unlink(missing_ok=True)
        self.trace.unlink(missing_ok=True)
        self.write(count)

    def write(self, count: int) -> None:
        """Write the system; another count gives every step another key."""
        (self.project / "system.py").write_text(SYSTEM.format(calls=str(self.calls), count=count))

    def run(
        self,
        *arguments: str,
        action: Action = Action.WATCH,
        at: int = 0,
        error: int = 0,
        kinds: Iterable[Kind] = CHANGES,
        below: Path | None = None,
        traced: bool = False,
        times: int = 1,
    ) -> Ended:
        """Carry out `drivetrain run` in one process, `times` times, with a fault at the `at`-th call of these kinds.

        Calls are counted below the project, or below the folder that is named.
        """
        answer = self._ask(
            {
                "project": str(self.project),
                "folder": str(below or self.project),
                "commands": [["run", *arguments]] * times,
                "action": action,
                "at": at,
                "error": error,
                "kinds": sum(1 << kind for kind in kinds),
                "trace": str(self.trace) if traced else "",
                "out": str(self._out),
            }
        )
        return Ended(answer["code"], self._out.read_text(), answer["calls"], answer["happened"], Kind(answer["kind"]))

    def traced(self) -> list[Call]:
        """Return the calls of the commands that were carried out with `traced`."""
        return read_trace(self.trace)

    def executed(self) -> Counter[str]:
        """Return how often each step's own code ran."""
        return Counter(self.calls.read_text().split() if self.calls.exists() else [])

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(timeout=30)
        self._server.stdout.close()

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        assert line, "the process that forks has ended"
        return json.loads(line)


def kept_steps(store: Path) -> set[str]:
    """Return the steps that finished in any run; see `kept_keys`."""
    return set(kept_keys(store).values())


def kept_keys(store: Path) -> dict[str, str]:
    """Return the keys that have finished in any run and the step of each, with nothing but sqlite3 and hashlib.

    Every file with a digest's name must have that digest, and every artifact of a finished step must be there.
    """
    for path in (store / "artifacts" / "sha256").glob("??/*"):
        assert sha256(path.read_bytes()).hexdigest() == path.parent.name + path.name, f"{path} is half written"
    if not (store / "ledger.db").exists():
        return {}
    # A copy, so that looking at it leaves what a killed process left.
    copy = store.parent.parent / "looked-at"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-journal"):
        if (store / name).exists():
            shutil.copyfile(store / name, copy / name)
    with closing(sqlite3.connect(copy / "ledger.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'step_run'").fetchall():
            return {}
        rows = database.execute(
            "SELECT key, step, outputs FROM step_run WHERE state IN ('finished', 'cached')"
        ).fetchall()
    for _, step, outputs in rows:
        for artifact in json.loads(outputs).values():
            digest = artifact["digest"].removeprefix("sha256:")
            path = store / "artifacts" / "sha256" / digest[:2] / digest[2:]
            assert path.exists(), f"{step} is recorded as finished, and its artifact {digest} is not there"
            assert path.stat().st_size == artifact["size_bytes"]
    return {key: step for key, step, _ in rows}


def result(store: Path) -> Any:
    """Return what the last step gave in the newest run; it has finished, and no run is called running."""
    with closing(sqlite3.connect(store / "ledger.db")) as database:
        ((run, state),) = database.execute("SELECT id, state FROM run ORDER BY started_at DESC LIMIT 1").fetchall()
        running = database.execute("SELECT id FROM run WHERE state = 'running'").fetchall()
    assert state == "finished"
    assert running == [], "a run whose process is gone is not called running"
    return result_of(store, run)


def result_of(store: Path, run: str) -> Any:
    """Return what the last step gave in a run, with nothing but sqlite3 and json."""
    with closing(sqlite3.connect(store / "ledger.db")) as database:
        ((outputs,),) = database.execute(
            "SELECT outputs FROM step_run WHERE run = ? AND step = 'total'", [run]
        ).fetchall()
    digest = json.loads(outputs)["total"]["digest"].removeprefix("sha256:")
    return json.loads((store / "artifacts" / "sha256" / digest[:2] / digest[2:]).read_bytes())


def right(count: int = 300) -> dict[str, Any]:
    """Return what the last step must give."""
    return {"sum": sum(number * 0.5 for number in range(count)), "count": count}


def spread(first: int, last: int, count: int) -> Sequence[int]:
    """Return `count` numbers from `first` to `last`, evenly apart, or all where there are not more.

    >>> spread(1, 10, 4)
    [1, 4, 7, 10]
    """
    if last - first < count:
        return list(range(first, last + 1))
    return [first + round(number * (last - first) / (count - 1)) for number in range(count)]

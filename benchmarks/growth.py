"""What a step costs as a plan grows, and where the time goes: chains of trivial steps, cold and cached."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.keys import processor_seconds
from benchmarks.measure import (
    QUIET,
    SCRATCH,
    Sample,
    Unavailable,
    cell,
    interleaved,
    number,
    ours,
    seconds,
    table,
    versions,
)
from benchmarks.pipeline import Shape, source

SIZES = (10, 100, 1_000, 10_000)
RUNNERS = (1, 2, 4, 8)
FAN = 200
HEAD = "import drivetrain as dt\n\n\n"
# The same run with a disk that is never waited for: what is left is the processor's.
UNSYNCED = """
import os, sqlite3, sys
from functools import partial

class Loose(sqlite3.Connection):
    def execute(self, sql, *values):
        return super().execute("PRAGMA synchronous = OFF" if sql.startswith("PRAGMA synchronous =") else sql, *values)

os.fsync = lambda descriptor: None
sqlite3.connect = partial(sqlite3.connect, factory=Loose)
from drivetrain.cli import main
sys.argv = ["drivetrain", "run"]
sys.exit(main())
"""


def project(name: str, shape: Shape) -> Path:
    """Return the folder of a system of a shape, of which nothing has run."""
    folder = SCRATCH / "growth" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "system.py").write_text(HEAD + source(shape, "@dt.step\n"))
    return folder


def cold(name: str, shape: Shape, measured: Callable[..., float], argv: list[str]) -> float:
    """Return what a first run takes."""
    return measured(argv, cwd=project(name, shape))


def at_once(runners: int) -> float:
    """Return the seconds until so many runners that began together on an empty store have all ended."""
    folder, program = project(f"{runners}-runners", Shape("fan", FAN)), str(ours_once() / "drivetrain")
    start = time.perf_counter()
    processes = [
        subprocess.Popen(
            [program, "run"], cwd=folder, env=QUIET, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for _ in range(runners)
    ]
    for process in processes:
        _, told = process.communicate()
        if process.returncode:
            raise Unavailable(f"one of {runners} runners failed: {told[-600:]}")
    return time.perf_counter() - start


_OURS: list[Path] = []


def ours_once() -> Path:
    """Return our environment, which is brought up to date once."""
    if not _OURS:
        _OURS.append(ours())
    return _OURS[0]


def fit(found: dict[int, float]) -> tuple[float, float, float]:
    """Return intercept and slope of the line that fits best in proportion, and the largest relative distance.

    >>> fit({100: 1.0, 1_000: 1.9, 10_000: 10.9})
    (0.9, 0.001, 0.0)
    """
    weights = {size: 1 / value**2 for size, value in found.items()}
    whole = sum(weights.values())
    x = sum(weights[size] * size for size in found) / whole
    y = sum(weights[size] * value for size, value in found.items()) / whole
    slope = sum(weights[size] * (size - x) * (value - y) for size, value in found.items()) / sum(
        weights[size] * (size - x) ** 2 for size in found
    )
    start = y - slope * x
    off = max(abs(start + slope * size - value) / value for size, value in found.items())
    return round(start, 6), round(slope, 9), round(off, 6)


def measure(rounds: int = 3) -> str:
    """Return three tables: growth, what a run is made of, and many runners."""
    return "\n\n".join([growth(rounds), made_of(rounds), many(rounds)])


def growth(rounds: int) -> str:
    """Return the table of processor time by the number of steps, with the line through it."""
    argv = [str(ours_once() / "drivetrain"), "run"]
    shapes = {size: Shape("chain", size) for size in SIZES}
    first = {f"cold {size}": partial(cold, str(size), shape, processor_seconds, argv) for size, shape in shapes.items()}
    again = {f"cached {size}": partial(processor_seconds, argv, cwd=SCRATCH / "growth" / str(size)) for size in shapes}
    found = interleaved(first, rounds) | interleaved(again, rounds)
    rows = []
    for kind in ("cold", "cached"):
        cells = [found[f"{kind} {size}"] for size in SIZES]
        medians = {size: each.median for size, each in zip(SIZES, cells, strict=True) if isinstance(each, Sample)}
        start, slope, off = fit(medians)
        line = f"{number(start)} s + {number(slope * 1000)} ms a step, within {off:.0%}"
        rows.append([kind, *map(cell, cells), line])
    head = ["whole process, s of processor time", *(f"{size:,} steps" for size in SIZES), "line"]
    return (
        f"{table(head, rows)}\n\nA chain, whose steps run one after another. Median (range) of {rounds} rounds; "
        f"{versions(ours_once(), ['drivetrain'])}."
    )


def made_of(rounds: int) -> str:
    """Return the table of what a cold chain of 50 and a cold fan-out are made of."""
    python, program = str(ours_once() / "python"), str(ours_once() / "drivetrain")
    shapes = {"chain of 50": Shape("chain", 50), f"fan-out {FAN} + join": Shape("fan", FAN)}
    tasks: dict[str, Callable[[], float]] = {
        "bare": partial(seconds, [python, "-c", "pass"]),
        "imports": partial(seconds, [python, "-c", "import drivetrain.cli.run, drivetrain.pipeline.guardian"]),
    }
    for name, shape in shapes.items():
        tasks[f"whole {name}"] = partial(cold, name, shape, seconds, [program, "run"])
        tasks[f"unsynced {name}"] = partial(cold, name, shape, seconds, [python, "-c", UNSYNCED])
    found = interleaved(tasks, rounds)
    medians = {name: each.median for name, each in found.items() if isinstance(each, Sample)}
    rows = []
    for name in shapes:
        whole, unsynced = medians[f"whole {name}"], medians[f"unsynced {name}"]
        parts = [medians["bare"], medians["imports"] - medians["bare"], whole - unsynced, unsynced - medians["imports"]]
        rows.append([name, number(whole), *(f"{number(max(part, 0.0))} ({part / whole:.0%})" for part in parts)])
    head = ["cold, wall s", "whole", "Python starts", "our imports", "waiting for the disk", "all else"]
    return (
        f"{table(head, rows)}\n\nMedians of {rounds} rounds in turns. The disk's part is what a run saves whose "
        "`fsync` does nothing and whose ledger is `synchronous=off`."
    )


def many(rounds: int) -> str:
    """Return the table of runners that do the same plan at once, on one store."""
    found = interleaved({str(runners): partial(at_once, runners) for runners in RUNNERS}, rounds)
    row = ["all have ended, s", *(cell(found[str(runners)], found["1"]) for runners in RUNNERS)]
    steps = {name: each.median for name, each in found.items() if isinstance(each, Sample)}
    rate = ["outcomes a second", *(number((FAN + 1) * runners / steps[str(runners)]) for runners in RUNNERS)]
    head = [f"fan-out {FAN} + join, cold", *(f"{runners} runner{'s' * (runners > 1)}" for runners in RUNNERS)]
    return (
        f"{table(head, [row, rate])}\n\nEach step is computed by one runner and taken by the others. Median (range) of "
        f"{rounds} rounds in turns on {os.cpu_count()} cores."
    )

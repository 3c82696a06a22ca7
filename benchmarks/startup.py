"""What a user waits for before anything happens, and how much a base install weighs."""

from functools import partial
from pathlib import Path

from benchmarks.measure import cell, environment, interleaved, ours, run, seconds, table, versions

DISTRIBUTIONS = """
import importlib.metadata as m
print(len({d.metadata["Name"].lower() for d in m.distributions()} - {"pip", "setuptools", "wheel"}))
"""
INSTALLER = {"pip", "setuptools", "wheel", "_distutils_hack", "pkg_resources"}


def size_mb(binaries: Path) -> float:
    """Return the size of what is installed, bytecode included and the installer not, in millions of bytes."""
    [packages] = binaries.parent.glob("lib/python*/site-packages")
    files = (
        file
        for top in packages.iterdir()
        if top.name.split("-")[0] not in INSTALLER
        for file in ([top] if top.is_file() else top.rglob("*"))
    )
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def measure(rounds: int = 15) -> str:
    """Return the tables of start-up and weight."""
    drivetrain, hamilton = ours(), environment("hamilton", ["sf-hamilton"])
    python = str(drivetrain / "python")
    tasks = {
        "`python -c pass`": [python, "-c", "pass"],
        "`import drivetrain`": [python, "-c", "import drivetrain"],
        "`drivetrain --help`": [str(drivetrain / "drivetrain"), "--help"],
        "`import numpy`": [python, "-c", "import numpy"],
        "`import polars`": [python, "-c", "import polars"],
        "`import hamilton.driver`": [str(hamilton / "python"), "-c", "import hamilton.driver"],
    }
    timed = {name: partial(seconds, argv) for name, argv in tasks.items()}
    interleaved(timed, 1)  # what follows is from a warm disk, with bytecode written
    found = interleaved(timed, rounds)
    bare = found["`python -c pass`"]
    times = table(["whole process, s", "median (range)"], [[name, cell(each, bare)] for name, each in found.items()])

    count = run([python, "-c", DISTRIBUTIONS]).strip()
    weight = f"The base install is {count} distributions and {size_mb(drivetrain):.0f} MB, bytecode included"
    what = versions(drivetrain, ["drivetrain", "polars", "numpy"]) + ", " + versions(hamilton, ["sf-hamilton"])
    return f"{times}\n\n× is to the bare interpreter. {weight}. Median of {rounds} rounds in turns; {what}."

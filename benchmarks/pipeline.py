"""What a pipeline costs beside its own work: trivial steps, whole processes, cold and with everything cached.

Two shapes: a chain of 50 steps, and 200 steps that one more joins. The floor writes one row a step into SQLite and
keeps nothing else; joblib.Memory and Hamilton cache, without a plan or a record of what was run; Dagster records what
ran and keeps no outcomes; Prefect does both, by a server that each run starts for itself.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks.measure import (
    PEERS,
    SCRATCH,
    Sample,
    Unavailable,
    cell,
    environment,
    interleaved,
    ours,
    seconds,
    table,
    versions,
)


class Shape(NamedTuple):
    """A form of a plan, and how many steps it has."""

    form: Literal["chain", "fan"]
    steps: int


SHAPES = {Shape("chain", 50): "chain of 50", Shape("fan", 200): "fan-out 200 + join"}
NOT_CACHED = Unavailable("it keeps no outcomes")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to run the same steps."""

    name: str
    binaries: Path
    distribution: str
    argv: tuple[str, ...]
    head: str = ""
    decorator: str = ""
    caches: bool = True

    def folder(self, shape: Shape) -> Path:
        """Return where its project of a shape lies."""
        return SCRATCH / "pipeline" / self.distribution / "".join(filter(str.isalnum, self.name)) / shape.form

    def run(self, shape: Shape) -> float:
        """Run its project as it lies there, and return the seconds."""
        return seconds(
            [str(self.binaries / self.argv[0]), *self.argv[1:], *self.arguments(shape)], cwd=self.folder(shape)
        )

    def run_cold(self, shape: Shape) -> float:
        """Write its project anew, with nothing remembered, and run it."""
        folder = self.folder(shape)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "system.py").write_text(self.head + source(shape, self.decorator))
        for script in self.argv[1:]:
            if script.endswith(".py"):
                shutil.copy(PEERS / script, folder)
        return self.run(shape)

    def arguments(self, shape: Shape) -> list[str]:
        """Return the last step's name for the scripts that must be told what is wanted."""
        return [] if self.argv[0] == "drivetrain" else [shape.form]


def source(shape: Shape, decorator: str) -> str:
    """Return the steps of a shape as a Python file."""
    if shape.form == "chain":
        steps = ["def a0() -> int:\n    return 1\n"]
        steps += [f"def a{i}(a{i - 1}: int) -> int:\n    return a{i - 1} + 1\n" for i in range(1, shape.steps)]
    else:
        names = [f"s{i}" for i in range(shape.steps)]
        steps = [f"def {name}() -> int:\n    return {i}\n" for i, name in enumerate(names)]
        inputs = ", ".join(f"{name}: int" for name in names)
        steps += [f"def joined({inputs}) -> int:\n    return {' + '.join(names)}\n"]
    return "\n\n".join(decorator + step for step in steps)


def contenders() -> list[Contender]:
    """Return ours and its peers, each in its own environment."""
    joblib, hamilton = environment("joblib", ["joblib"]), environment("hamilton", ["sf-hamilton"])
    dagster, prefect = environment("dagster", ["dagster"]), environment("prefect", ["prefect"])
    return [
        Contender(
            name="**drivetrain**",
            binaries=ours(),
            distribution="drivetrain",
            argv=("drivetrain", "run"),
            head="import drivetrain as dt\n\n\n",
            decorator="@dt.step\n",
        ),
        Contender(
            name="floor: sqlite3 only", binaries=joblib, distribution="joblib", argv=("python", "sqlite_floor.py")
        ),
        Contender(
            name="joblib.Memory",
            binaries=joblib,
            distribution="joblib",
            argv=("python", "joblib_memory.py"),
            head='import joblib\n\nmemory = joblib.Memory("cache", verbose=0)\n\n\n',
            decorator="@memory.cache\n",
        ),
        Contender(
            name="Hamilton, caching",
            binaries=hamilton,
            distribution="sf-hamilton",
            argv=("python", "hamilton_cache.py"),
        ),
        Contender(
            name="Dagster, in one process",
            binaries=dagster,
            distribution="dagster",
            argv=("python", "dagster_job.py"),
            head="from dagster import op\n\n\n",
            decorator="@op\n",
            caches=False,
        ),
        Contender(
            name="Prefect, results kept",
            binaries=prefect,
            distribution="prefect",
            argv=("python", "prefect_flow.py"),
            head="from prefect import task\nfrom prefect.cache_policies import INPUTS, TASK_SOURCE\n\n\n",
            decorator="@task(cache_policy=INPUTS + TASK_SOURCE, persist_result=True)\n",
        ),
    ]


def measure(rounds: int = 7) -> str:
    """Return the table of both shapes, cold and cached."""
    every = contenders()
    cold: dict[str, Callable[[], float]] = {}
    cached: dict[str, Callable[[], float]] = {}
    for each in every:
        for shape in SHAPES:
            cold[each.name + shape.form] = partial(each.run_cold, shape)
            if each.caches:
                cached[each.name + shape.form] = partial(each.run, shape)

    # A cold round leaves a full cache behind, which the cached rounds then find.
    found = {"cold": interleaved(cold, rounds), "cached": interleaved(cached, rounds)}
    us, floor = every[0].name, every[1].name
    base = us if isinstance(found["cold"][us + "chain"], Sample) else floor
    rows = [
        [
            each.name,
            *(
                cell(kind.get(each.name + shape.form, NOT_CACHED), kind[base + shape.form])
                for shape in SHAPES
                for kind in found.values()
            ),
        ]
        for each in every
    ]
    head = ["whole process, s", *(f"{text}, {kind}" for text in SHAPES.values() for kind in found)]
    named = {each.distribution: each.binaries for each in every}
    return (
        f"{table(head, rows)}\n\n"
        f"× is to {base}. Median (range) of {rounds} rounds in turns; "
        f"{', '.join(versions(binaries, [name]) for name, binaries in named.items())}. Ours is `drivetrain run`: "
        "each step keyed by its code, settings and inputs, its result written durably, and the run recorded. "
        "The floor commits one row a step with `synchronous=normal`."
    )

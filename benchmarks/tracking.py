"""What tracking costs inside the process: points of a curve, whole runs, and finding the best of many.

Each workload is a process of its own with an empty store, and times itself: imports are not counted. The floor writes
the same rows into plain tables of SQLite. MLflow keeps its runs in SQLite as well; trackio in files of its own.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.measure import (
    PEERS,
    SCRATCH,
    Sample,
    Unavailable,
    cell,
    environment,
    interleaved,
    number,
    ours,
    run,
    table,
    versions,
)

WORK = {
    "points:10000": "10,000 points",
    "runs:500": "500 runs",
    "top:500": "top 10 of 500",
    "points:1000000": "1,000,000 points",
    "top:10000": "top 10 of 10,000",
}


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """One way to keep the same figures, and what of it is measured; the rest would take minutes or is not offered."""

    name: str
    binaries: Path
    distribution: str
    script: str
    work: tuple[str, ...]

    def seconds(self, work: str) -> float:
        """Carry out a workload with an empty store, and return what it says it took."""
        folder = SCRATCH / "tracking" / self.script.removesuffix(".py") / work.replace(":", "-")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return float(run([str(self.binaries / "python"), str(PEERS / self.script), work], cwd=folder).split()[-1])


def trackers() -> list[Tracker]:
    """Return ours and its peers, each in its own environment."""
    drivetrain, mlflow, trackio = ours(), environment("mlflow", ["mlflow"]), environment("trackio", ["trackio"])
    every, small = tuple(WORK), ("points:10000", "runs:500", "top:500")
    return [
        Tracker(
            name="**drivetrain**", binaries=drivetrain, distribution="drivetrain", script="track_drivetrain.py",
            work=every,
        ),
        Tracker(
            name="floor: sqlite3 only", binaries=drivetrain, distribution="drivetrain", script="track_floor.py",
            work=every,
        ),
        Tracker(name="MLflow, log_batch", binaries=mlflow, distribution="mlflow", script="track_mlflow.py", work=small),
        Tracker(name="trackio", binaries=trackio, distribution="trackio", script="track_trackio.py", work=small[:2]),
    ]  # fmt: skip


def measure(rounds: int = 3) -> str:
    """Return the table of all workloads, and what one call costs."""
    every = trackers()
    us, mlflow = every[0], every[2]
    tasks: dict[str, Callable[[], float]] = {
        each.name + work: partial(each.seconds, work) for each in every for work in each.work
    }
    tasks["call"] = partial(us.seconds, "call")
    tasks["single"] = partial(mlflow.seconds, "single:1000")
    found = interleaved(tasks, rounds)
    missing = Unavailable("not measured")
    rows = [
        [each.name, *(cell(found.get(each.name + work, missing), found[us.name + work]) for work in WORK)]
        for each in every
    ]
    call, single = found["call"], found["single"]
    calls = f"One call of `dt.log` takes {number(call.median)} µs. " if isinstance(call, Sample) else ""
    calls += f"One call of `mlflow.log_metric` takes {number(single.median)} ms. " if isinstance(single, Sample) else ""
    named = {each.distribution: each.binaries for each in every}
    return (
        f"{table(['inside the process, s', *WORK.values()], rows)}\n\n"
        f"× is to {us.name}. {calls}Median (range) of {rounds} rounds in turns; "
        f"{', '.join(versions(binaries, [name]) for name, binaries in named.items())}. A run has 10 parameters and 10 "
        "metrics, and is on the disk before the next begins; the best are sorted by one metric and, but for the floor, "
        "filtered by another. Ours is `dt.track` and `dt.log`, with `synchronous=full`, as the floor. – was not "
        "measured: it takes minutes, or there is no such call."
    )

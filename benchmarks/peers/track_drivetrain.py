"""What each workload of tracking takes with Drivetrain, in seconds inside the process."""

import sys
import time
from datetime import timedelta
from pathlib import Path

import drivetrain as dt
from drivetrain.experiments.query import search
from drivetrain.pipeline.figure import Figure, settings_of
from drivetrain.pipeline.run import Run
from drivetrain.store.record import now
from drivetrain.store.store import Store


def points(count: int) -> float:
    """Log a curve of `count` points; they are on the disk at the end."""
    start = time.perf_counter()
    with dt.track("fit"):
        for step in range(count):
            dt.log("loss", 1 / (step + 1), step=step)
    return time.perf_counter() - start


def call() -> float:
    """Return how long one call of `dt.log` keeps its caller, in microseconds, over 10,000 calls."""
    with dt.track("fit"):
        start = time.perf_counter()
        for step in range(10_000):
            dt.log("loss", 1 / (step + 1), step=step)
        return (time.perf_counter() - start) * 100


def runs(count: int) -> float:
    """Record runs of 10 parameters and 10 metrics, each on the disk before the next begins."""
    start = time.perf_counter()
    for number in range(count):
        with dt.track("trial", {f"p{each}": number * each for each in range(10)}):
            dt.log({f"m{each}": (number * 7919 % count) / (each + 1) for each in range(10)})
    return time.perf_counter() - start


def top(count: int) -> float:
    """Find the 10 best of `count` runs by one metric, those above a value of another."""
    ledger = Store.open(Path(".drivetrain")).ledger
    records, begun = [], now()
    for number in range(count):
        run = Run(
            id=f"run-{number:013}", system="", state="finished", started_at=begun + timedelta(seconds=number),
            settings={"trial": {f"p{each}": number * each for each in range(10)}},
        )  # fmt: skip
        metrics = [
            Figure(run=run.id, kind="metric", name=f"trial.m{each}", value=(number * 7919 % count) / (each + 1))
            for each in range(10)
        ]
        records += [run, *settings_of(run), *metrics]
    ledger.write(*records)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        found = search(ledger, f"trial.m1 > {count / 4}", sort="-trial.m0", limit=10).runs
        best = min(best, time.perf_counter() - start)
    assert len(found) == 10
    return best


with dt.track("warm"):
    dt.log("up", 1.0)
work, _, size = sys.argv[1].partition(":")
print({"points": points, "runs": runs, "top": top}[work](int(size)) if size else call())

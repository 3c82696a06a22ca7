"""What answering many rows once costs: 4,000,000 rows of 20 floats in Parquet, a HistGradientBoosting of 100 trees.

Beside ours: loops as one writes them by hand, with the whole table in memory, by onnxruntime and by scikit-learn, on
all processors. Each reads the file and writes all columns with the prediction into another one; the time is that of the
whole process, imports included, and the memory that of all its processes, looked at twenty times a second.
"""

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.contender import memory_mb
from benchmarks.measure import (
    PEERS,
    QUIET,
    SCRATCH,
    Sample,
    Unavailable,
    environment,
    number,
    ours,
    run,
    table,
    versions,
)
from benchmarks.workloads import DRIVETRAIN, ONNX, SKLEARN, trained

FOLDER = SCRATCH / "batch"
ROWS = 4_000_000
LOOPS = ("batch-loops", ["polars", *ONNX, *SKLEARN])
LOOK_S = 0.05
SYSTEM = """
import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier

import drivetrain as dt

NAMES = [f"x{i}" for i in range(20)]


@dt.dataset(key="id", label="y")
def rows(count: int = 5_000) -> pl.LazyFrame:
    x = np.random.default_rng(0).normal(size=(count, 20))
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
    return pl.LazyFrame(dict(zip(NAMES, x.T))).with_columns(id=pl.int_range(pl.len()), y=pl.Series(y))


train, test = dt.split(rows, test=0.25)


@dt.model
def boosted(train: pl.DataFrame) -> HistGradientBoostingClassifier:
    x, y = dt.xy(train)
    return HistGradientBoostingClassifier(max_iter=100, early_stopping=False).fit(x, y)


@dt.evaluation
def quality(boosted: HistGradientBoostingClassifier, test: pl.DataFrame) -> dt.metrics.Binary:
    return dt.metrics.binary(boosted, test)


gate = dt.Gate(boosted, require=[quality.auc >= 0.5])
service = dt.Service(boosted)
"""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass over all rows."""

    rows_per_s: float
    memory_mb: float


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to answer the rows; `argv` writes `output` below the folder."""

    name: str
    argv: tuple[str, ...]
    folder: Path
    output: str = "scored.parquet"

    def measure(self) -> Pass:
        """Answer all rows, and make sure that they were."""
        output = self.folder / self.output
        output.unlink(missing_ok=True)
        environment = {name: value for name, value in QUIET.items() if name != "OMP_NUM_THREADS"}
        log = self.folder / "batch.log"
        started = time.perf_counter()
        peak = 0.0
        with log.open("w") as file:
            process = subprocess.Popen(self.argv, cwd=self.folder, env=environment, stdout=file, stderr=file)
            while process.poll() is None:
                peak = max(peak, memory_mb(process.pid))
                time.sleep(LOOK_S)
        took = time.perf_counter() - started
        if process.returncode or not output.exists():
            raise Unavailable(f"{self.name}: {log.read_text()[-400:]}")
        return Pass(rows_per_s=ROWS / took, memory_mb=peak)


def contenders() -> list[Contender]:
    """Write the rows, train the models, and return how each is started."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    python = str(environment(*LOOPS) / "python")
    for file in (*PEERS.glob("batch_*.py"), *trained().glob("boosted.*")):
        shutil.copy(file, FOLDER)
    rows = FOLDER / f"rows-{ROWS}.parquet"
    if not rows.exists():
        run([python, "batch_rows.py", str(ROWS), str(rows)], cwd=FOLDER)
    drivetrain = ours("drivetrain-serving", *DRIVETRAIN)
    project = FOLDER / "drivetrain"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    (project / "system.py").write_text(SYSTEM.lstrip())
    run([str(drivetrain / "drivetrain"), "run"], cwd=project)
    predict = (
        str(drivetrain / "drivetrain"),
        "predict",
        "--input",
        str(rows),
        "--output",
        "scored.parquet",
        "--workers",
    )
    return [
        Contender(name="**drivetrain**, 2 workers", argv=(*predict, "2"), folder=project),
        Contender(name="**drivetrain**, 1 worker", argv=(*predict, "1"), folder=project),
        Contender(name="loop: polars + onnxruntime", argv=(python, "batch_onnx.py", str(rows)), folder=FOLDER),
        Contender(name="loop: polars + scikit-learn", argv=(python, "batch_sklearn.py", str(rows)), folder=FOLDER),
    ]


def measure(rounds: int = 3) -> str:
    """Return the table."""
    every = contenders()
    found: dict[str, list[Pass] | Unavailable] = {each.name: [] for each in every}
    for _ in range(rounds):
        for each in every:
            seen = found[each.name]
            if isinstance(seen, list):
                try:
                    seen.append(each.measure())
                except Unavailable as error:
                    print(f"  {error}", flush=True)
                    found[each.name] = error
    base = found["loop: polars + onnxruntime"]
    rows = []
    for each in every:
        passes = found[each.name]
        if isinstance(passes, Unavailable):
            rows.append([each.name, "–", "–", "–"])
            continue
        take: Callable[[str], Sample] = partial(_sample, passes)
        times = "–" if isinstance(base, Unavailable) else f"{_ratio(passes, base):.2g}×"
        rows.append([each.name, str(take("rows_per_s")), times, number(take("memory_mb").median)])
    return (
        f"{table(['whole process', 'rows/s', '×', 'MB'], rows)}\n\n"
        f"× is to the loop with onnxruntime. Median (range) of {rounds} rounds in turns; {ROWS:,} rows of 20 floats "
        f"in Parquet; {versions(environment(*LOOPS), ['polars', 'onnxruntime', 'scikit-learn'])}. Ours is "
        "`drivetrain predict`: each value checked, in parts that are on the disk and in the ledger when they are "
        "finished, put together in the order of the rows."
    )


def _sample(passes: list[Pass], field: str) -> Sample:
    return Sample(tuple(getattr(each, field) for each in passes))


def _ratio(passes: list[Pass], base: list[Pass]) -> float:
    return _sample(passes, "rows_per_s").median / _sample(base, "rows_per_s").median

"""What a server costs beside its model: one row of 20 floats as JSON, a HistGradientBoosting of 100 trees.

Beside ours: a FastAPI service written by hand, and as limits a bare granian that gives the request back and one that
only runs the model with onnxruntime. The load comes from wrk where it is installed, and from a small client of ours
in its own process otherwise; both wait for an answer before they ask again, and go to this machine only.
"""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

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

FOLDER = SCRATCH / "serving"
ROW = {f"x{i}": round(0.05 * i - 0.5, 2) for i in range(20)}
CONNECTIONS = (1, 64)
DURATION_S = 5
READY_S = 60.0

SKLEARN = ["scikit-learn", "numpy", "skops"]
ONNX = ["onnxruntime", "onnx", "skl2onnx", "protobuf<7"]  # see the extra `onnx` in pyproject.toml
FASTAPI = ("fastapi", ["fastapi", "uvicorn[standard]", *SKLEARN])
GRANIAN = ("granian", ["granian", "uvloop", *ONNX, *SKLEARN])


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one round of load has seen."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    memory_mb: float


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A server that answers a row posted to `path`; `argv` gets the port in place of PORT."""

    name: str
    argv: tuple[str, ...]
    folder: Path
    path: str = "/predict"

    @contextlib.contextmanager
    def serve(self) -> Iterator[tuple[str, int]]:
        """Start it on a free port, wait until it answers, and give its address and process id."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        argv = [word.replace("PORT", str(port)) for word in self.argv]
        log = self.folder / "server.log"
        with log.open("w") as output:
            process = subprocess.Popen(argv, cwd=self.folder, env=QUIET, stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}{self.path}"
            wait_for_answer(url, process, log)
            yield url, process.pid
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()

    def measure(self, connections: int) -> Load:
        """Start it, warm it, load it, and stop it."""
        with self.serve() as (url, pid):
            load(url, connections, 1)
            requests_per_s, p50_ms, p99_ms = load(url, connections, DURATION_S)
            return Load(requests_per_s=requests_per_s, p50_ms=p50_ms, p99_ms=p99_ms, memory_mb=memory_mb(pid))


def wait_for_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server has answered the row, or say why it will not."""
    request = urllib.request.Request(url, json.dumps(ROW).encode(), {"Content-Type": "application/json"})
    deadline = time.monotonic() + READY_S
    said = "no answer"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                response.read()
                return
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read().decode()[:300]}"
        except OSError:
            pass
        time.sleep(0.1)
    raise Unavailable(f"{url}: {said}; {log.read_text()[-400:]}")


def load(url: str, connections: int, duration_s: int) -> tuple[float, float, float]:
    """Return requests a second, and the median and 99th percentile of their times in milliseconds."""
    if wrk := shutil.which("wrk"):
        argv = [wrk, "-t1", f"-c{connections}", f"-d{duration_s}s", "--latency", "-s", str(post_script()), url]
        return read_wrk(run(argv))
    client = environment("client", [])
    argv = [str(client / "python"), str(PEERS / "client.py"), url, json.dumps(ROW), str(connections), str(duration_s)]
    found = json.loads(run(argv))
    return found["requests_per_s"], found["p50_ms"], found["p99_ms"]


@cache
def post_script() -> Path:
    """Write what wrk sends."""
    script = FOLDER / "post.lua"
    lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(json.dumps(ROW))}"]
    script.write_text("\n".join([*lines, 'wrk.headers["Content-Type"] = "application/json"', ""]))
    return script


def read_wrk(text: str) -> tuple[float, float, float]:
    """Return rate, median and 99th percentile from what wrk printed; an answer that is no success counts as none."""
    if refused := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        raise Unavailable(f"{refused[1]} answers were errors")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    times = dict(re.findall(r"\s(50|99)%\s+([\d.]+(?:us|ms|s))\b", text))
    if rate is None or times.keys() != {"50", "99"}:
        raise Unavailable(f"wrk printed something else: {text[-300:]}")
    return float(rate[1]), milliseconds(times["50"]), milliseconds(times["99"])


def milliseconds(text: str) -> float:
    """Read a time as wrk writes it.

    >>> [milliseconds(each) for each in ("210.00us", "1.5ms", "2s")]
    [0.21, 1.5, 2000.0]
    """
    for unit, factor in (("us", 1e-3), ("ms", 1.0), ("s", 1e3)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


def memory_mb(pid: int) -> float:
    """Return the memory of a process and its descendants, what they share counted once; 0 where /proc cannot say."""
    total_kb = 0
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            children = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue
        total_kb += int(re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[0])
        waiting += map(int, children.split())
    return total_kb / 1e3


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


def contenders() -> list[Contender]:
    """Train the model for each, and return how each is started."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    fastapi, granian = environment(*FASTAPI), environment(*GRANIAN)
    for script in PEERS.glob("serve_*.py"):
        shutil.copy(script, FOLDER)
    run([str(granian / "python"), "serve_train.py"], cwd=FOLDER)

    uvicorn = (str(fastapi / "uvicorn"), "serve_fastapi:app", "--port", "PORT", "--no-access-log", "--workers")
    rsgi = (str(granian / "granian"), "--interface", "rsgi", "--host", "127.0.0.1", "--port", "PORT", "--workers", "1")
    peers = [
        Contender(name="FastAPI by hand, 1 worker", argv=(*uvicorn, "1"), folder=FOLDER),
        Contender(name="FastAPI by hand, 2 workers", argv=(*uvicorn, "2"), folder=FOLDER),
        Contender(name="limit: granian + onnxruntime", argv=(*rsgi, "serve_onnx:app"), folder=FOLDER),
        Contender(name="limit: granian echo", argv=(*rsgi, "serve_echo:app"), folder=FOLDER),
    ]
    try:
        return [*own(), *peers]
    except Unavailable as error:
        print(f"  drivetrain: {error}", flush=True)
        return peers


def own() -> list[Contender]:
    """Run the pipeline that makes our model, and return how our server is started."""
    drivetrain = ours("drivetrain-serving", *SKLEARN, *ONNX)
    folder = FOLDER / "drivetrain"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "system.py").write_text(SYSTEM.lstrip())
    run([str(drivetrain / "drivetrain"), "run"], cwd=folder)
    command = (str(drivetrain / "drivetrain"), "serve", "--port", "PORT", "--workers")
    return [
        Contender(name="**drivetrain**, 1 worker", argv=(*command, "1"), folder=folder),
        Contender(name="**drivetrain**, 2 workers", argv=(*command, "2"), folder=folder),
    ]


def measure(rounds: int = 3) -> str:
    """Return a table for each number of connections."""
    every = contenders()
    found: dict[tuple[str, int], list[Load] | Unavailable] = {}
    for _ in range(rounds):
        for each in every:
            for connections in CONNECTIONS:
                seen = found.setdefault((each.name, connections), [])
                if isinstance(seen, list):
                    try:
                        seen.append(each.measure(connections))
                    except Unavailable as error:
                        print(f"  {each.name}: {error}", flush=True)
                        found[each.name, connections] = error
    tables = [loads_table(every, connections, found) for connections in CONNECTIONS]
    tool = "wrk" if shutil.which("wrk") else "the client in benchmarks/peers/client.py"
    what = [
        versions(environment(*FASTAPI), ["fastapi", "uvicorn"]),
        versions(environment(*GRANIAN), ["granian", "onnxruntime", "scikit-learn"]),
    ]
    return "\n\n".join(
        [
            *tables,
            f"× is to FastAPI by hand on 2 workers. Median (range) of {rounds} rounds of {DURATION_S} s in turns, load "
            f"from {tool} on the same machine; memory is of all processes of a server; {', '.join(what)}. Ours is "
            "`drivetrain serve`: validated, with a prediction id, metrics and a log of what was asked and answered.",
        ]
    )


def loads_table(
    every: list[Contender], connections: int, found: dict[tuple[str, int], list[Load] | Unavailable]
) -> str:
    """Return the table of one number of connections."""
    base = found["FastAPI by hand, 2 workers", connections]
    rows = []
    for each in every:
        loads = found[each.name, connections]
        if isinstance(loads, Unavailable):
            rows.append([each.name, *"–––––"])
            continue
        take = partial(sample, loads)
        times = "–" if isinstance(base, Unavailable) else ratio(take("requests_per_s"), sample(base, "requests_per_s"))
        rows.append(
            [
                each.name,
                str(take("requests_per_s")),
                times,
                str(take("p50_ms")),
                str(take("p99_ms")),
                number(take("memory_mb").median),
            ]
        )
    head = [f"{connections} connection{'s' * (connections > 1)}", "req/s", "×", "p50 ms", "p99 ms", "MB"]
    return table(head, rows)


def sample(loads: list[Load], field: str) -> Sample:
    """Return one field of several rounds."""
    return Sample(tuple(getattr(each, field) for each in loads))


def ratio(one: Sample, other: Sample) -> str:
    """Return how many times the other one's median the one's is."""
    return f"{one.median / other.median:.2g}×"

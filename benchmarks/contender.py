"""A server under load: started on a free port, asked until it answers, loaded, weighed and stopped."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import QUIET, SCRATCH, Unavailable, run
from drivetrain.load.plan import Plan, Target
from drivetrain.load.process import carry_out

CONNECTIONS = (1, 64, 512)
DURATION_S = 5
WARM_UP_S = 1
READY_S = 120.0
FOLDER = SCRATCH / "serving"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one round of load has seen; `errors` are requests that were not answered well."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int = 0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one start of a server has shown: its loads by connections, and what it takes."""

    loads: Mapping[int, Load]
    start_s: float
    idle_mb: float
    loaded_mb: float


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A server that answers a body posted to `path`; `argv` gets the port in place of PORT."""

    name: str
    argv: tuple[str, ...]
    folder: Path
    body: bytes
    path: str = "/predict"
    extra: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    ready_s: float = READY_S

    @contextlib.contextmanager
    def serve(self) -> Iterator[tuple[str, int, float]]:
        """Start it, wait until it answers, and give its address, process id and the seconds that took."""
        port = free_port()
        argv = [word.replace("PORT", str(port)) for word in self.argv]
        log = self.folder / f"server-{re.sub(r'[^a-z0-9]+', '-', self.name.lower())}.log"
        started = time.monotonic()
        with log.open("w") as output:
            process = subprocess.Popen(
                argv, cwd=self.folder, env={**QUIET, "PORT": str(port), **self.extra}, stdout=output, stderr=output
            )
        try:
            wait_for_answer(port, self, process, log)
            yield f"http://127.0.0.1:{port}{self.path}", process.pid, time.monotonic() - started
        finally:
            stop(process)

    def measure(self, connections: tuple[int, ...] = CONNECTIONS, duration_s: int = DURATION_S) -> Seen:
        """Start it, weigh it, load it with each number of connections after a warm-up, and stop it."""
        with self.serve() as (url, pid, start_s):
            time.sleep(1)
            idle_mb = memory_mb(pid)
            loads = {}
            for count in connections:
                load(self, url, count, WARM_UP_S)
                loads[count] = load(self, url, count, duration_s)
            return Seen(loads=loads, start_s=start_s, idle_mb=idle_mb, loaded_mb=memory_mb(pid))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_answer(port: int, contender: Contender, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server has answered well, or say why it will not."""
    deadline = time.monotonic() + contender.ready_s
    said = "no answer"
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("POST", contender.path, contender.body, dict(contender.headers))
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            if 200 <= answer.status < 300:
                return
            said = f"{answer.status} {text[:300]}"
            # While it starts it may know no route, or not be ready yet; that it cannot read the body is for good.
            if answer.status in (400, 415, 422):
                break
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise Unavailable(f"{contender.path}: {said}; {' '.join(log.read_text(errors='replace')[-300:].split())}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server, and what it has started and left behind."""
    children = descendants(process.pid)
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def load(contender: Contender, url: str, connections: int, duration_s: int) -> Load:
    """Ask for so long on so many connections, each of which waits for its answer."""
    if wrk := shutil.which("wrk"):
        argv = [wrk, "-t1", f"-c{connections}", f"-d{duration_s}s", "--timeout", "30s", "--latency"]
        return read_wrk(run([*argv, "-s", str(post_script(contender)), url]))
    target = Target(url=url, headers=dict(contender.headers))
    report = carry_out(
        Plan(target=target, requests=[contender.body], connections=connections, seconds=duration_s, timeout_s=30)
    )
    return Load(requests_per_s=report.requests_per_s, p50_ms=report.p50_ms, p99_ms=report.p99_ms, errors=report.failed)


def tool() -> str:
    """Return what makes the load."""
    return "wrk" if shutil.which("wrk") else "`drivetrain load`"


def post_script(contender: Contender) -> Path:
    """Write what wrk sends; the body is read from a file, since it may hold any byte."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    body, script = FOLDER / "body", FOLDER / "post.lua"
    body.write_bytes(contender.body)
    headers = [f'wrk.headers["{name}"] = "{value}"' for name, value in contender.headers.items()]
    lines = ['wrk.method = "POST"', f'local file = io.open("{body}", "rb")', 'wrk.body = file:read("*a")', *headers]
    script.write_text("\n".join([*lines, ""]))
    return script


def read_wrk(text: str) -> Load:
    r"""Return what wrk printed: the rate is of answers that were successes, the times of all.

    >>> read_wrk("  50%  1.5ms\n  99%  2s\nRequests/sec:  10.5\n")
    Load(requests_per_s=10.5, p50_ms=1.5, p99_ms=2000.0, errors=0)
    """
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    times = dict(re.findall(r"\s(50|99)%\s+([\d.]+(?:us|ms|s|m))\b", text))
    if rate is None or times.keys() != {"50", "99"}:
        raise Unavailable(f"wrk printed something else: {text[-300:]}")
    answered = re.search(r"(\d+) requests in", text)
    good = 1 - int(refused[1]) / int(answered[1]) if refused and answered else 1.0
    if good <= 0:
        raise Unavailable("every answer was an error")
    return Load(
        requests_per_s=good * float(rate[1]),
        p50_ms=milliseconds(times["50"]),
        p99_ms=milliseconds(times["99"]),
        errors=errors,
    )


def milliseconds(text: str) -> float:
    """Read a time as wrk writes it.

    >>> [milliseconds(each) for each in ("210.00us", "1.5ms", "2s", "1m")]
    [0.21, 1.5, 2000.0, 60000.0]
    """
    for unit, factor in (("us", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 60e3)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


def descendants(pid: int) -> list[int]:
    """Return the processes that one has started, and those that these have; none where /proc cannot say."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                waiting += map(int, task.read_text().split())
        if each != pid:
            found.append(each)
    return found


def memory_mb(pid: int) -> float:
    """Return the memory of a process and its descendants, what they share counted once; 0 where /proc cannot say."""
    total_kb = 0
    for each in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            total_kb += int(re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[0])
    return total_kb / 1e3

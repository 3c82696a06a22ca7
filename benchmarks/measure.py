"""What every benchmark needs: an environment for a peer, the time of a command, and a table of results."""

import hashlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRATCH = ROOT / ".bench"
PEERS = Path(__file__).parent / "peers"

# One thread each: what is compared is overhead, and machines differ in their cores. Bytecode is kept, as for a user.
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
for _name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "VIRTUAL_ENV"):
    QUIET.pop(_name, None)


class Unavailable(Exception):
    """Something cannot be measured here, and the reason goes into the table."""


@dataclass(frozen=True)
class Sample:
    """The same thing measured several times, in one unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        return f"{number(self.median)} ({number(low)}–{number(high)})"


def number(value: float) -> str:
    """Write a number with two or three digits that matter.

    >>> [number(each) for each in (0.0521, 3.14159, 48.2, 19538.4)]
    ['0.052', '3.14', '48.2', '19,538']
    """
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def environment(name: str, requirements: Sequence[str], *, python: str = sys.executable) -> Path:
    """Return the `bin` folder of a virtual environment of `python` that holds a peer alone; make it at first use."""
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    folder = SCRATCH / "environments" / name
    marker = folder / f".installed-{digest}"
    if not marker.exists():
        print(f"  installing {name} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        own = str(folder / "bin" / "python")
        if shutil.which("uv"):
            run(["uv", "venv", "--quiet", "--python", python, str(folder)])
            # Compiled as pip does it, so that neither start-up nor size depends on the installer.
            run(["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", own, *requirements])
        else:
            run([python, "-m", "venv", str(folder)])
            run([own, "-m", "pip", "install", "--quiet", *requirements])
        marker.touch()
    return folder / "bin"


def versions(binaries: Path, names: Sequence[str]) -> str:
    """Return `name version` of distributions in an environment."""
    program = "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    return run([str(binaries / "python"), "-c", program, *names]).strip()


def run(argv: Sequence[str], *, cwd: Path | None = None, extra: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed; when it fails, say what it said."""
    done = subprocess.run(argv, cwd=cwd, env={**QUIET, **(extra or {})}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"`{Path(argv[0]).name} {' '.join(argv[1:3])}` failed: {(done.stderr or done.stdout)[-600:]}")
    return done.stdout


def seconds(argv: Sequence[str], *, cwd: Path | None = None) -> float:
    """Return how long a whole process takes, from its start to its end."""
    start = time.perf_counter()
    run(argv, cwd=cwd)
    return time.perf_counter() - start


def interleaved(tasks: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Sample | Unavailable]:
    """Measure each task once a round, in turns, so that a busy moment of the machine strikes all of them."""
    values: dict[str, list[float]] = {name: [] for name in tasks}
    failed: dict[str, Unavailable] = {}
    for _ in range(rounds):
        for name, task in tasks.items():
            if name in failed:
                continue
            try:
                values[name].append(task())
            except Unavailable as error:
                print(f"  {name}: {error}", file=sys.stderr, flush=True)
                failed[name] = error
    return {name: failed.get(name) or Sample(tuple(values[name])) for name in tasks}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its first column to the left and the others to the right."""
    lines = [list(head), ["---"] + ["--:"] * (len(head) - 1), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(found: Sample | Unavailable, against: Sample | Unavailable | None = None) -> str:
    """Write a sample, and how many times that of the one it is compared with."""
    if isinstance(found, Unavailable):
        return "–"
    if isinstance(against, Sample) and against is not found:
        return f"{found}, {found.median / against.median:.2g}×"
    return str(found)


def machine() -> str:
    """Say when and where this was measured."""
    today = datetime.now(UTC).date().isoformat()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"*{today}; {os.cpu_count()} cores, {model}; {platform.system()}; Python {platform.python_version()}.*"


def ours(name: str = "drivetrain", *extras: str) -> Path:
    """Return the `bin` folder of an environment that has this working tree, and what else is named."""
    binaries = environment(name, [str(ROOT), *extras])
    # The source may have changed since: what is measured is what lies here.
    program = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    purelib = Path(run([str(binaries / "python"), "-c", program]).strip())
    shutil.rmtree(purelib / "drivetrain", ignore_errors=True)
    shutil.copytree(ROOT / "src" / "drivetrain", purelib / "drivetrain", ignore=shutil.ignore_patterns("__pycache__"))
    run([str(binaries / "python"), "-m", "compileall", "-q", str(purelib / "drivetrain")])
    return binaries

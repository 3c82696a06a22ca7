"""What each workload of tracking takes with trackio on a local store, in seconds inside the process."""

import contextlib
import os
import sys
import time

os.environ["TRACKIO_DIR"] = os.getcwd()
os.environ["HF_HUB_OFFLINE"] = "1"
with contextlib.redirect_stdout(sys.stderr):
    import trackio


def begun(name: str, config: dict[str, float]) -> None:
    """Begin a run without telling the terminal."""
    with contextlib.redirect_stdout(sys.stderr):
        trackio.init(project="bench", name=name, config=config, embed=False)


def ended() -> None:
    """End the run; what was logged is kept then."""
    with contextlib.redirect_stdout(sys.stderr):
        trackio.finish()


def points(count: int) -> float:
    """Log a curve of `count` points."""
    begun("warm", {})
    ended()
    start = time.perf_counter()
    begun("curve", {})
    for step in range(count):
        trackio.log({"loss": 1 / (step + 1)}, step=step)
    ended()
    return time.perf_counter() - start


def runs(count: int) -> float:
    """Record runs of 10 parameters and 10 metrics."""
    begun("warm", {})
    ended()
    start = time.perf_counter()
    for number in range(count):
        begun(f"run-{number}", {f"p{each}": number * each for each in range(10)})
        trackio.log({f"m{each}": (number * 7919 % count) / (each + 1) for each in range(10)})
        ended()
    return time.perf_counter() - start


work, _, size = sys.argv[1].partition(":")
print({"points": points, "runs": runs}[work](int(size)))

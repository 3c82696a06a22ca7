import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drivetrain.monitoring.supervisor import Change, Child, Supervisor

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
# A child with a child of its own, as a server has workers.
FAMILY = [
    sys.executable,
    "-c",
    "import subprocess, sys; worker = subprocess.Popen(['sleep', '60']); print(worker.pid, flush=True); worker.wait()",
]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def watched(supervisor: Supervisor, act: Callable[[Change], None]) -> list[Change]:
    seen = []
    for change in supervisor.run():
        seen.append(change)
        act(change)
    return seen


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_that_is_killed_is_started_again_and_all_end_together(tmp_path: Path) -> None:
    supervisor = Supervisor([Child("a", SLEEPER), Child("b", SLEEPER)], logs=tmp_path)
    starts: list[int] = []

    def act(change: Change) -> None:
        if change.state == "started":
            starts.append(change.pid)
            if len(starts) == 2:
                wait_until(lambda: (tmp_path / "a.log").read_text())
                os.kill(starts[0], signal.SIGKILL)
            if len(starts) == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    seen = watched(supervisor, act)

    assert [change.state for change in seen].count("stopped") == 2
    died = next(change for change in seen if change.state == "died")
    assert died.name == "a"
    assert "SIGKILL" in died.detail
    assert "it said: up" in died.detail
    assert not any(is_alive(pid) for pid in starts)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_child_that_dies_again_and_again_is_given_longer_pauses(tmp_path: Path) -> None:
    supervisor = Supervisor(
        [Child("broken", [sys.executable, "-c", "raise SystemExit('no such port\\n  → take another')"])], logs=tmp_path
    )
    deaths: list[Change] = []

    def act(change: Change) -> None:
        if change.state == "died":
            deaths.append(change)
            if len(deaths) == 2:
                supervisor.stop()

    watched(supervisor, act)

    assert "again in 0.5 s; it said: no such port → take another" in deaths[0].detail
    assert "again in 1 s" in deaths[1].detail


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_orphan_is_left_however_the_supervisor_ends(tmp_path: Path, number: signal.Signals) -> None:
    program = f"""
from pathlib import Path
from drivetrain.monitoring.supervisor import Child, Supervisor
for change in Supervisor([Child("sleeper", {SLEEPER!r})], logs=Path({str(tmp_path)!r})).run():
    print(change.pid, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        wait_until(lambda: "up" in (tmp_path / "sleeper.log").read_text())

        supervisor.send_signal(number)
        supervisor.wait(timeout=5)

        wait_until(lambda: not is_alive(child))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_children_of_a_child_that_died_do_not_live_on(tmp_path: Path) -> None:
    supervisor = Supervisor([Child("family", FAMILY)], logs=tmp_path)
    workers: list[int] = []

    def act(change: Change) -> None:
        if change.state == "started" and not workers:
            wait_until(lambda: (tmp_path / "family.log").read_text().strip())
            workers.append(int((tmp_path / "family.log").read_text()))
            os.kill(change.pid, signal.SIGKILL)
        elif change.state == "died":
            supervisor.stop()

    watched(supervisor, act)

    wait_until(lambda: not is_alive(workers[0]))

"""What the code of a class may do to a worker: wait, or kill it; and the process that replaces those that die."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.serving.project import Address, Project
from tests.serving.world import wait_until

from drivetrain.pipeline.ending import with_descendants

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = """
import os
import time

import drivetrain as dt


@dt.predictor
class Fragile:
    def predict(self, x: int, seconds: float = 0.0) -> int:
        time.sleep(seconds)
        if x == 999:
            os._exit(3)
        return 2 * x


gate = dt.Gate(Fragile)
doubling = dt.Service(Fragile, timeout_s=1.5)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("fragile"), SYSTEM)
    made.run()
    return made


def state(address: Address, job: str) -> str:
    """Return how a job stands, or nothing while no worker answers."""
    try:
        told: str = address.client.get(f"/jobs/{job}").json()["state"]
    except httpx.TransportError:
        return ""
    return told


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_job_that_kills_whoever_answers_it_fails_and_the_server_goes_on(
    project: Project, workers: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with project.served("--workers", workers) as address:
        job = address.client.post("/jobs", json=[{"x": 1}, {"x": 999}]).json()["id"]
        wait_until(lambda: state(address, job) == "failed", 60)
        wait_until(lambda: address.answers(ready=True), 20)

        assert address.predict({"x": 4})["prediction"] == 8
        assert address.client.get(f"/jobs/{job}").json()["attempts"] == 2

    said = capfd.readouterr().err
    assert said.count("ended with exit code 3; what it was answering is lost, and another takes its place") == 2


def test_a_job_of_a_class_tells_how_far_it_is(project: Project) -> None:
    with project.served() as address:
        job = address.client.post("/jobs", json=[{"x": 1, "seconds": 0.02}] * 60).json()["id"]
        seen = set()
        while (told := address.client.get(f"/jobs/{job}").json())["state"] in ("queued", "running"):
            seen.add(told["done_rows"])
            sleep(0.1)

    assert told["state"] == "done"
    assert len(seen - {0, 60}) >= 2


def test_a_class_that_was_quick_and_waits_for_once_holds_up_nobody_but_its_own(project: Project) -> None:
    with project.served() as address, ThreadPoolExecutor() as pool:
        for _ in range(50):
            address.predict({"x": 4})
        began = monotonic()
        slow = pool.submit(address.client.post, "/predict", json={"x": 4, "seconds": 6.0})
        sleep(0.3)
        assert address.client.get("/healthz").status_code == 200
        assert monotonic() - began < 1.4
        assert slow.result().status_code == 504
        assert monotonic() - began < 4


def test_workers_end_with_the_server_also_where_that_is_killed(project: Project) -> None:
    with project.served() as address:
        assert address.predict({"x": 4})["prediction"] == 8
        (server,) = [pid for pid in with_descendants(os.getpid())[1:] if is_server(pid)]
        workers = with_descendants(server)[1:]
        assert workers
        os.kill(server, signal.SIGKILL)

        wait_until(lambda: not any(map(is_alive, workers)), 20)


def test_a_server_that_cannot_come_up_gives_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    project = Project(
        tmp_path, SYSTEM.replace("class Fragile:", "class Fragile:\n    def load(self): _dies()\n") + DIES
    )
    project.run()
    with pytest.raises(AssertionError, match="ended by itself"), project.served(DIES="1"):
        pass

    assert "no worker stays alive: the server gives up" in capfd.readouterr().err


DIES = """

def _dies():
    if os.environ.get("DIES"):
        os._exit(4)
"""


def is_server(pid: int) -> bool:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        return "drivetrain.serving" in file.read()


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

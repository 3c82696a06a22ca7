"""`drivetrain up` with several services: one server for all, and the monitor and the console beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.serving.front.conftest import FLIGHT, HOUSE
from tests.serving.world import free_port, wait_until

if TYPE_CHECKING:
    from tests.serving.project import Project


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("words", [["--all"], ["arrivals", "prices"]], ids=" ".join)
def test_all_of_them_answer_below_their_names_and_end_together(project: Project, words: list[str]) -> None:
    port, console = free_port(), free_port()
    settings = {"DRIVETRAIN_SERVE_PORT": str(port), "DRIVETRAIN_CONSOLE_PORT": str(console)}
    command = [sys.executable, "-m", "drivetrain", "up", *words]
    process = subprocess.Popen(
        command, cwd=project.folder, env={**os.environ, **settings}, stderr=subprocess.PIPE, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(f"{url}/readyz") and _answers(f"http://127.0.0.1:{console}/"), 60)
        price = httpx.post(f"{url}/prices/predict", json=HOUSE)
        late = httpx.post(f"{url}/arrivals/predict", json=FLIGHT)
        ready = httpx.get(f"{url}/readyz").json()["services"]
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert (price.json()["version"], late.json()["version"]) == ("worth@1", "lateness@1")
    assert len(ready) == (5 if words == ["--all"] else 2)
    for name in ready:
        assert f"{name} answers with " in said
        assert f" at {url}/{name}\n" in said
    assert [f"{child} stopped: ended with exit code 0" in said for child in ("server", "monitor", "console")] == [
        True
    ] * 3
    assert not _answers(f"{url}/healthz")


def test_several_without_a_choice_are_refused_with_their_names(project: Project) -> None:
    done = project.command("up")

    assert done.returncode == 2
    assert "name one or more of arrivals, prices, telling, advising, bulk, or take --all" in done.stderr

"""What `drivetrain serve` says, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
from tests.project import Project
from tests.serving.world import free_port

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = """
import drivetrain as dt


@dt.predictor
class Shout:
    def predict(self, text: str) -> str:
        return text.upper()


gate = dt.Gate(Shout)
service = dt.Service(Shout)
"""


def test_whoever_reads_that_it_answers_may_ask_at_once(tmp_path: Path) -> None:
    Project(tmp_path).write(SYSTEM)
    port = free_port()
    command = [sys.executable, "-m", "drivetrain", "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "no champion yet" in process.stderr.readline()
        assert process.stderr.readline().startswith(f"service answers at http://127.0.0.1:{port} ")
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_who_interrupts_a_start_is_not_told_of_going_on(tmp_path: Path) -> None:
    Project(tmp_path).write("import time\nprint('read', flush=True)\ntime.sleep(60)\n" + SYSTEM)
    command = [sys.executable, "-m", "drivetrain", "serve"]
    # Whoever runs the tests in the background may ignore the signal, and a process of theirs would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "read\n"

    process.send_signal(signal.SIGINT)

    assert process.communicate(timeout=30)[1] == "interrupted\n"
    assert process.returncode == 130

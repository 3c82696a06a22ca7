"""Engines that are not ours, each in an environment and a process of its own: llama.cpp, Triton, and one that fails.

The environments are made where `DRIVETRAIN_ENGINES` says, or below the user's cache. Without a way to install them, the
tests that need one skip and say why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.serving.world import ROOT, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ENGINES = Path(os.environ.get("DRIVETRAIN_ENGINES", Path.home() / ".cache" / "drivetrain"))


def environment(name: str, *packages: str, python: str = sys.executable) -> str:
    """Return the Python of an environment with some packages, made once; skip where it cannot be."""
    folder = ENGINES / name
    made = folder / "bin" / "python"
    if not made.exists():
        if not Path(python).exists():
            pytest.skip(f"there is no {python}")
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    if subprocess.run([made, "-c", f"import {packages[0].replace('-', '_').removeprefix('nvidia_')}"]).returncode:
        install = [str(made), "-m", "pip", "install", "--quiet", *packages]
        done = subprocess.run(install, capture_output=True, text=True, timeout=300)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"{packages[0]} cannot be installed here: {done.stderr.strip()[-200:]}")
    return str(made)


@contextmanager
def started(python: str, script: str, *words: str, ready: str, port: int = 0) -> Iterator[str]:
    """Run an engine until the block ends, and give its address once the path `ready` answers."""
    port = port or free_port()
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [python, str(HERE / script), str(port), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | paths)
    address = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert process.poll() is None, f"{script} ended by itself"
        try:
            return httpx.get(address + ready, timeout=1, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(is_ready, 60)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

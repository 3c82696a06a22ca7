"""A project in a folder of its own, run and served by the commands that a user types."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from tests.serving.world import ROOT, free_port

from drivetrain.serving.log import Cursor, read_new
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import polars as pl

_COMMAND = [sys.executable, "-c", "import sys; from drivetrain.cli import main; sys.exit(main())"]


class Project:
    """A folder with a system in it."""

    def __init__(self, folder: Path, source: str, **files: str | bytes) -> None:
        self.folder = folder
        self.write("system.py", source)
        for name, content in files.items():
            self.write(name.replace("__", "."), content)

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of drivetrain in the folder."""
        return subprocess.run(
            [*_COMMAND, *words],
            cwd=self.folder,
            env=_environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run(self) -> None:
        """Run the system, which must finish."""
        done = self.command("run")
        assert done.returncode == 0, done.stdout + done.stderr

    def logged(self, service: str) -> pl.DataFrame:
        """Return what a service has logged, in the order of the ids."""
        store = Store.open(self.folder / ".drivetrain")
        found = read_new(store, service, Cursor())[0].sort("id")
        store.close()
        return found

    @contextmanager
    def served(self, *words: str, ready: bool = True, **settings: str) -> Iterator[Address]:
        """Serve services of the system until the block ends: those that the words name, or with such options."""
        port = free_port()
        command = [*_COMMAND, "serve", *words, "--port", str(port)]
        process = subprocess.Popen(command, cwd=self.folder, env=_environment(settings), stdin=subprocess.DEVNULL)
        address = Address(port)
        try:
            end = time.monotonic() + 60
            while not address.answers(ready):
                assert process.poll() is None, "the server ended by itself"
                assert time.monotonic() < end, "the server did not become ready"
                time.sleep(0.05)
            yield address
        finally:
            address.client.close()
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


class Address:
    """Where a service answers."""

    def __init__(self, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def answers(self, ready: bool) -> bool:
        """Return whether it answers, and is ready where that is asked for."""
        try:
            found = self.client.get("/readyz")
        except httpx.TransportError:
            return False
        return found.status_code == 200 or not ready

    def predict(self, body: Any, **options: Any) -> Any:
        """Return the answer to a body, which must be given."""
        found = self.client.post("/predict", json=body, **options)
        assert found.status_code == 200, found.text
        return found.json()

    def refused(self, body: Any, status: int) -> Any:
        """Return what is said to a body that must be refused."""
        found = self.client.post("/predict", json=body)
        assert found.status_code == status, found.text
        return found.json()


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "120", "NO_COLOR": "1", **settings}

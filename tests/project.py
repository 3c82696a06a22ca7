"""A project in a temporary folder, as a user has one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from drivetrain.store.store import Store


class Project:
    """Writes files, carries out commands in processes of their own, and opens the store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, text: str, name: str = "system.py") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def command(self, *arguments: str, check: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "drivetrain", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=120,
        )
        if check is not None:
            assert done.returncode == check, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        return msgspec.json.decode(self.command(*arguments, "--json").stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "drivetrain", *arguments],
            cwd=self.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def processes(self, file: str = "cmdline") -> list[str]:
        """Return the commands of the processes that work in the project's folder, but for this one.

        `file` names another file of each under /proc that is returned instead.
        """
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if (entry / "cwd").resolve() == self.root.resolve() and os.readlink(entry / "exe"):
                        found.append((entry / file).read_text())
                except OSError:
                    continue
        return found

    def store(self) -> Store:
        return Store.open(self.root / ".drivetrain")

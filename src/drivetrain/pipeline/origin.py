"""Where a run comes from: the commit, what was not committed, the machine and who started it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from drivetrain.security.actor import actor


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What was true of the code and the machine when a run started."""

    commit: str = ""
    dirty_diff: str = ""
    actor: str = ""
    environment: dict[str, str] = {}


class OriginReader:
    """Asks git in the background while the run goes on; `result` waits for the answer.

    >>> OriginReader(Path("/")).result().commit
    ''
    """

    def __init__(self, root: Path, *, asks_git: bool = True) -> None:
        self._git = None
        if asks_git and any((folder / ".git").exists() for folder in (root, *root.parents)):
            script = "git rev-parse HEAD && git diff HEAD -- ."
            self._git = subprocess.Popen(
                ["/bin/sh", "-c", script], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )

    def result(self) -> Origin:
        """Return what was found; without git, the commit stays empty."""
        commit = diff = ""
        if self._git is not None:
            out, _ = self._git.communicate()
            commit, _, diff = out.partition("\n")
        return Origin(
            commit=commit,
            dirty_diff=diff,
            actor=actor(),
            environment={
                "python": ".".join(map(str, sys.version_info[:3])),
                "platform": sys.platform,
                "processors": str(os.cpu_count()),
            },
        )

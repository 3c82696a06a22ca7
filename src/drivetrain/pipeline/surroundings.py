"""What a step finds around it in its process, and the steps after it too: put back when it is done."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

_STREAMS = (0, 1, 2)


class Surroundings:
    """Holds the working folder and the standard streams as they are now; each step is a block of its own.

    A step that closes a stream would otherwise have what we open next take its place, and be printed into. A copy of
    the process that a step makes by `fork` ends where the step ends: it must not go on with the run.
    """

    def __init__(self) -> None:
        self._pid, self._folder = os.getpid(), os.getcwd()
        self._kept = {stream: os.dup(stream) for stream in _STREAMS if _identity(stream) is not None}
        self._identities = {stream: _identity(stream) for stream in self._kept}

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if os.getpid() != self._pid:
            if error is not None:
                traceback.print_exception(error, file=sys.__stderr__)
            os._exit(0 if error is None else 1)
        for stream, kept in self._kept.items():
            if _identity(stream) != self._identities[stream]:
                os.dup2(kept, stream)
        if _folder() != self._folder:
            os.chdir(self._folder)

    def close(self) -> None:
        """Let go of what is held."""
        while self._kept:
            os.close(self._kept.popitem()[1])


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""

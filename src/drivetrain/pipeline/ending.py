"""How processes end: with their parent, and what their exit code says."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def end_with_parent(number: signal.Signals = signal.SIGTERM, *, parent: int = 0) -> Callable[[], None] | None:
    """Return what a child process calls before it begins, so that it is ended when its parent dies; None off Linux.

    SIGTERM, the default, lets a server end its own workers. The `parent` is this process, where it is not named.
    """
    if sys.platform != "linux":
        return None
    prctl: Any = ctypes.CDLL(None, use_errno=True).prctl
    parent = parent or os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return ask


def adopt_orphans() -> None:
    """Become the parent of what this process's descendants leave behind, on Linux; otherwise the system does."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def with_descendants(leader: int) -> list[int]:
    """Return a process and its descendants; off Linux they are not known."""
    found, stack = [], [leader]
    while stack:
        pid = stack.pop()
        found.append(pid)
        try:
            # Each thread has the children that it began.
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                    stack.extend(map(int, file.read().split()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def end_all(processes: list[int]) -> None:
    """End processes at once."""
    for pid in processes:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # it has ended, or has become another user's


def end_descendants() -> None:
    """End all that this process has begun or adopted, and what those begin meanwhile."""
    while processes := with_descendants(os.getpid())[1:]:
        end_all(processes)
        try:
            while os.waitpid(-1, 0)[0]:
                pass
        except ChildProcessError:
            continue


def ending(code: int) -> str:
    """Return, for people, how a process ended; a negative code is the signal that ended it.

    >>> ending(3), ending(-9)
    ('ended with exit code 3', 'was ended by SIGKILL, as the system does when memory runs out')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}" + (", as the system does when memory runs out" if name == "SIGKILL" else "")

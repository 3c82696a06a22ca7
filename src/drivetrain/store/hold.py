"""The store's lock: whoever is about to mention an artifact shares it, and whoever takes artifacts away holds it alone.

An artifact is on the disk before the row that mentions it, and a run may find one that nothing has mentioned for
years. As long as it shares the lock, nothing is taken away. The kernel lets go of it when a process ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drivetrain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How long one waits for those who share the lock; sealing a part of the log takes moments, a run may take hours.
PATIENCE_S = 5.0
_POLL_S = 0.05


@contextmanager
def shared(root: Path) -> Iterator[None]:
    """Keep artifacts from being taken away until the block ends; waits while some are."""
    handle = _opened(root)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


@contextmanager
def alone(root: Path, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Be the only one at the store until the block ends.

    Raises:
        StoreUnavailable: others shared the lock all the time.
    """
    handle = _opened(root)
    try:
        give_up = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    raise StoreUnavailable(
                        f"a run is using the store {root}",
                        remedy="try again when it has ended: `drivetrain runs` lists those that are running",
                    ) from error
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)


def first_free(folder: Path, name: str) -> tuple[int, int]:
    """Return the number of the first file that no living process holds, and a handle that holds it.

    `name` has `{}` where the number stands, as in `worker-{}.counters`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        handle = os.open(folder / name.format(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number, handle
        except BlockingIOError:
            os.close(handle)
            number += 1


def _opened(root: Path) -> int:
    try:
        return os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreUnavailable(
            f"the lock {root / 'lock'} cannot be opened: {error.strerror}",
            remedy="mend the folder's permissions, or close some files, then do it again: finished steps are kept",
        ) from error

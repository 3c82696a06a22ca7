"""Folders whose names survive a power cut."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and make sure that its name is on the disk.

    When that cannot be told for certain, a new folder is taken away again: a sync that failed may succeed the next time
    without having written anything, but not for a name that is new then.
    """
    try:
        folder.mkdir()
        is_new = True
    except FileExistsError:
        if not folder.is_dir():
            raise
        is_new = False
    try:
        sync_folder(folder.parent)
    except OSError as error:
        if not is_new and isinstance(error, PermissionError):
            return  # it stands in a folder that is another's
        if is_new:
            _remove(folder)
        raise


def make_folders(folder: Path) -> None:
    """Make a folder and all above it, and make sure that each name is on the disk, up to where the file system begins.

    Those that are there already may come from a process that was killed before it could sync them.
    """
    chain = [folder]
    for above in folder.parents:
        if os.path.ismount(above):
            break
        chain.append(above)
    for each in reversed(chain):
        make_folder(each)


def sync_folder(folder: Path) -> None:
    """Put the names that a folder holds onto the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # another process uses it by now, or the disk does nothing any more

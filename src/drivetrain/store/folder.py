"""Folders whose names survive a power cut."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and make sure that its name is on the disk."""
    make_beside([folder])


def make_beside(folders: Sequence[Path]) -> None:
    """Make folders that stand in the same one, where there are none, and put all their names onto the disk at once.

    When that cannot be told for certain, new folders are taken away again: a sync that failed may succeed the next time
    without having written anything, but not for a name that is new then.
    """
    new = [folder for folder in folders if _is_made(folder)]
    try:
        sync_folder(folders[0].parent)
    except OSError as error:
        if not new and isinstance(error, PermissionError):
            return  # they stand in a folder that is another's
        for folder in new:
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


def _is_made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    return True


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # another process uses it by now, or the disk does nothing any more

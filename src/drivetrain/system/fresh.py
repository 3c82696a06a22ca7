"""Modules of a project, compiled from their source each time."""

from __future__ import annotations

import os
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


class FreshLoader(SourceFileLoader):
    """Loads a module without Python's compiled copy of it.

    Python takes that for current while the file has the same size and was changed in the same second: an edit that
    follows a run closely would be missed, and so would be the change of a step's key.
    """

    def path_stats(self, path: Any) -> NoReturn:
        """Say that nothing is known of the file, so that no copy is read or written."""
        raise OSError


def load_freshly(folder: str) -> None:
    """Let every module below a folder be loaded freshly from now on; what is installed there is left alone."""
    inside = os.path.join(folder, "")
    if any(getattr(hook, "folder", None) == inside for hook in sys.path_hooks):
        return
    sys.path_hooks.insert(0, _hook(inside))
    for path in [path for path in sys.path_importer_cache if _is_project(path, inside)]:
        del sys.path_importer_cache[path]


def _hook(inside: str) -> Callable[[str], FileFinder]:
    def find(path: str) -> FileFinder:
        if not _is_project(path, inside):
            raise ImportError
        return FileFinder(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (FreshLoader, SOURCE_SUFFIXES))

    find.folder = inside  # type: ignore[attr-defined]  # a function has room for it
    return find


def _is_project(path: str, inside: str) -> bool:
    rest = os.path.join(path, "").removeprefix(inside)
    return os.path.join(path, "").startswith(inside) and not rest.startswith(".") and "site-packages" not in rest

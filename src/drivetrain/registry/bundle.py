"""A bundle: the project's source files as they were when a version was trained, so that it can answer for years."""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from drivetrain.errors import UsageError
from drivetrain.system.system import System, system_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from contextlib import AbstractContextManager
    from types import ModuleType

    from drivetrain.registry.version import Version
    from drivetrain.store.store import Store

# One thread at a time changes what modules are called; it may come to another bundle on the way.
_LOCK = threading.RLock()
# The forms of artifact that name classes of the project's own.
_NAMING = frozenset({"torch", "pickle"})


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The module that declares the system, and each source file of the project that it loaded, by relative path."""

    module: str
    name: str
    files: dict[str, str]


def pack(system: System, root: Path, store: Store) -> str:
    """Keep the source files that the system is made of, and return the bundle's digest."""
    files: dict[str, str] = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not file or not file.endswith(".py"):
            continue
        path = Path(file)
        if not path.is_relative_to(root):
            continue
        inner = path.relative_to(root)
        if "site-packages" in inner.parts or inner.parts[0].startswith("."):
            continue
        files[str(inner)] = path.read_text(encoding="utf-8")
    file = getattr(system.module, "__file__", None)
    if file is None:
        raise UsageError(
            f"the system {system.name!r} stands in no file, and a version is kept with the code that it needs",
            remedy="write the system into a file and run that; without its gate it runs anywhere",
        )
    inner = Path(file).relative_to(root).with_suffix("")
    return store.keep_json(Bundle(module=".".join(inner.parts), name=system.name, files=files))


def load(store: Store, digest: str) -> System:
    """Return the system of a bundle, from its own files: what the project's folder holds by now does not matter.

    The modules are imported under their own names and then let go again, so that several bundles live side by side in
    one process.
    """
    return _loaded(store, digest).system


def names_classes(version: Version) -> bool:
    """Return whether the version's artifact names classes of the project's own, and holds only what is in them."""
    return version.artifact.format in _NAMING


def as_trained(store: Store, version: Version) -> AbstractContextManager[None]:
    """Return a block in which the version's model is read: its classes are those it was trained with.

    What stands in the project's folder by now may have other weights, and a server has not loaded it.
    """
    return _modules_of(store, version.code) if version.code and names_classes(version) else nullcontext()


class _Loaded(NamedTuple):
    """A system, and its modules, which are imported under these names from these folders."""

    system: System
    names: Collection[str]
    folders: list[str]
    modules: dict[str, ModuleType]


# What has been imported stays: a module's functions live as long as the process in any case.
_LOADED: dict[tuple[str, str], _Loaded] = {}


@contextmanager
def _modules_of(store: Store, digest: str) -> Iterator[None]:
    loaded = _loaded(store, digest)
    with _LOCK, _in_place(loaded.names, loaded.folders, loaded.modules):
        yield


def _loaded(store: Store, digest: str) -> _Loaded:
    with _LOCK:
        key = (str(store.root), digest)
        if key not in _LOADED:
            _LOADED[key] = _load(store, digest)
        return _LOADED[key]


def _load(store: Store, digest: str) -> _Loaded:
    bundle = store.json(digest, Bundle)
    folder = store.root / "code" / digest[7:23]
    for name, text in bundle.files.items():
        path = folder / name
        if not path.is_relative_to(folder) or ".." in path.parts:
            raise ValueError(f"the bundle {digest} names a file outside of its folder: {name}")
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_suffix(f".{threading.get_native_id()}")
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(path)
    # A file `helpers/clean.py` is imported as `helpers.clean`, and its first part is what may clash.
    names = {Path(name).parts[0].removesuffix(".py") for name in bundle.files}
    # A system in a folder of its own imports its neighbours by their bare names.
    inner = folder / Path(*bundle.module.split(".")[:-1])
    folders = [str(inner), str(folder)]
    modules: dict[str, ModuleType] = {}
    with _in_place(names, folders, modules):
        importlib.invalidate_caches()
        system = system_of(importlib.import_module(bundle.module.rpartition(".")[2]))
    system.name = bundle.name
    return _Loaded(system, names, folders, modules)


@contextmanager
def _in_place(names: Collection[str], folders: list[str], modules: dict[str, ModuleType]) -> Iterator[None]:
    """Let imports find `modules`, and put others of these names aside; what is imported in the block joins them."""

    def taken() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in names}

    set_aside = taken()
    sys.modules |= modules
    sys.path[:0] = folders
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(folder)
        modules |= taken()
        sys.modules |= set_aside

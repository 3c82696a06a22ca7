"""Whose code it is: the user's own, which is followed, or a package's, which counts by its version."""

from __future__ import annotations

import sys
import sysconfig
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

_OURS = str(Path(__file__).parents[1]) + "/"
_PATHS = sysconfig.get_paths()
_STANDARD = tuple({_PATHS[name] + "/" for name in ("stdlib", "platstdlib")})
_INSTALLED = ("/site-packages/", "/dist-packages/")


@cache
def is_users(file: str) -> bool:
    """Return whether a file is code of the user's: neither installed, nor Python's, nor Drivetrain's.

    A package that is installed as editable lies where its author works on it, and is the user's: its code changes
    without its version.

    >>> is_users("/home/me/flights/system.py"), is_users("/venv/lib/python3.12/site-packages/polars/__init__.py")
    (True, False)
    """
    if not file or file.startswith(("<", *_STANDARD, _OURS)):
        return False
    return not any(part in file for part in _INSTALLED)


def module_is_users(name: str) -> bool:
    """Return whether a loaded module is the user's; a notebook and a script are."""
    module = sys.modules.get(name)
    if module is None or name == "__main__":
        return True
    file = getattr(module, "__file__", None)
    if file is not None:
        return is_users(file)
    # A namespace package has folders instead of a file.
    if hasattr(module, "__path__"):
        return any(is_users(f"{folder}/") for folder in module.__path__)
    return name.partition(".")[0] not in sys.stdlib_module_names and name != "builtins"


def is_users_module(module: ModuleType) -> bool:
    """Return whether a module object is the user's."""
    return module_is_users(module.__name__) if sys.modules.get(module.__name__) is module else False


def locate(name: str) -> str:
    """Return the file of a module of the user's, without importing it; empty where it is not the user's.

    >>> locate("os"), locate("polars")
    ('', '')
    """
    head = name.partition(".")[0]
    if head in sys.stdlib_module_names or head in sys.builtin_module_names:
        return ""
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None):
        return loaded.__file__ if is_users(loaded.__file__ or "") else ""  # type: ignore[return-value]
    parts = name.split(".")
    for entry in sys.path:
        base = Path(entry or ".").absolute().joinpath(*parts)
        for file in (base / "__init__.py", base.with_name(base.name + ".py")):
            if file.is_file():
                return str(file) if is_users(str(file)) else ""
        if base.with_name(base.name).is_dir() and (base.parent / "__init__.py").is_file():
            return ""
    return _editable(name)


def module_code(file: str) -> CodeType | None:
    """Return the compiled code of a module's file, from Python's own cache where that is fresh."""
    try:
        return SourceFileLoader(Path(file).stem, file).get_code(Path(file).stem)
    except (OSError, SyntaxError, ValueError):
        return None


@cache
def version_of(module: str) -> tuple[str, str]:
    """Return the name that a package goes by and its version, `unknown` where nothing tells it.

    It is what the installation says, not what the module says of itself: the answer must not depend on whether the
    module is loaded.

    >>> version_of("builtins"), version_of("polars.series")[0]
    (('', ''), 'polars')
    """
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names or root in ("builtins", "__main__", ""):
        return "", ""
    if root == "drivetrain":
        from drivetrain import __version__

        return root, __version__
    from importlib.metadata import Distribution, PackageNotFoundError  # 10 ms that many a plan does not need

    try:
        return root, Distribution.from_name(root).version
    except PackageNotFoundError:
        pass
    names = [root, *(".".join(module.split(".")[:end]) for end in range(2, module.count(".") + 2))]
    for name in names:
        found = _installer_of(name)
        if found is not None:
            return name, found
    return root, "unknown"


def _installer_of(module: str) -> str | None:
    """Return the version of the distribution that has installed a module, such as scikit-learn's for sklearn."""
    from importlib.metadata import Distribution

    path = module.replace(".", "/")
    wanted = tuple(f"{path}{end}".encode() for end in ("/__init__.py,", ".py,", ".abi3.so,", ".cpython-"))
    for folder in dict.fromkeys(sys.path):
        if not folder.endswith(("site-packages", "dist-packages")):
            continue
        for record in sorted(Path(folder).glob("*.dist-info/RECORD")):
            content = b"\n" + record.read_bytes()
            if any(b"\n" + start in content for start in wanted):
                return Distribution.at(record.parent).version
    return None


@cache
def _editable(name: str) -> str:
    """Return the file of a module of which only an import hook knows, as some editable installations have it."""
    from importlib.util import find_spec

    head = name.partition(".")[0]
    if "." in name and head not in sys.modules:
        return ""  # looking for it would import its parent
    try:
        spec = find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return ""
    file = spec.origin if spec is not None and spec.has_location else None
    return file if file is not None and is_users(file) else ""

"""Loading the user's file: importing it runs nothing but its declarations."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_loader
from typing import TYPE_CHECKING

from drivetrain.errors import DeclarationError, Place, UsageError
from drivetrain.system.declaration import recorded
from drivetrain.system.fresh import FreshLoader, load_freshly
from drivetrain.system.system import System, system_of

if TYPE_CHECKING:
    from pathlib import Path


def load_system(path: Path, *, name: str = "") -> System:
    """Return the system that the file declares; its folder is where it imports its neighbours from.

    Raises:
        UsageError: there is no such file.
        DeclarationError: the file cannot be imported, or its parts do not fit together.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no {path.name} in {path.parent}",
            remedy="`drivetrain init` writes a first system; `--file` names another file",
        )
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    load_freshly(folder)
    loader = FreshLoader(path.stem, str(path))
    spec = spec_from_loader(path.stem, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        with recorded() as made:
            loader.exec_module(module)
    except DeclarationError:
        raise
    except SyntaxError as error:
        raise DeclarationError(
            f"{error.msg}: {(error.text or '').strip()}", place=Place(error.filename or str(path), error.lineno or 0)
        ) from error
    except ModuleNotFoundError as error:
        raise DeclarationError(
            f"importing {path.name} found no module {error.name!r}",
            remedy=f"install its package for {sys.executable}, or put the module beside {path.name}",
            place=_user_line(error, path),
        ) from error
    except Exception as error:
        raise DeclarationError(
            f"importing {path.name} raised {type(error).__name__}: {error}", place=_user_line(error, path)
        ) from error
    system = system_of(module, made)
    if name:
        system.name = name
    return system


def _user_line(error: BaseException, path: Path) -> Place:
    """Return the last line of the user's folder that the error passed through."""
    place, trace = Place(str(path), 1), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(str(path.parent)):
            place = Place(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return place

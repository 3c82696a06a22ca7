"""Systems in tests: run in memory or on a throw-away store, with values given in place of sources.

Every name is loaded when it is first used, so that the pytest plugin beside it costs nothing where it is not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivetrain.testing.client import Client
    from drivetrain.testing.lab import Lab
    from drivetrain.testing.result import Result
    from drivetrain.testing.ruling import Ruling, decide

_HOMES = {"Client": "client", "Lab": "lab", "Result": "result", "Ruling": "ruling", "decide": "ruling"}

__all__ = ["Client", "Lab", "Result", "Ruling", "decide"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'drivetrain.testing' has no attribute {name!r}")
    value = getattr(import_module(f"drivetrain.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

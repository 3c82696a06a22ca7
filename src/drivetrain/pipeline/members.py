"""What functions and classes hold: defaults, closures, annotations, and what the author of a class wrote."""

from __future__ import annotations

import dataclasses
from collections import deque
from enum import Enum
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator

EMPTY: Any = object()
"""Stands for a variable that holds nothing yet."""

_CONTAINERS = (list, dict, set, deque, bytearray)
# Python's own view of a field or slot; what the class body says of it counts already.
_SKIPPED = (GetSetDescriptorType, MemberDescriptorType)
_SKIPPED_NAMES = ("_tuplegetter", "member_descriptor", "_abc_data")
_DECLARED = ("__struct_config__", "__struct_defaults__", "__dataclass_params__", "__match_args__")


def content(cell: Any) -> Any:
    """Return what a closed-over variable holds, or `EMPTY`."""
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY


def defaults_of(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each default."""
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    yield from zip(names, defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()


def is_container(value: Any) -> bool:
    """Return whether methods such as `append` change a value in place.

    >>> is_container([]), is_container("text")
    (True, False)
    """
    return isinstance(value, _CONTAINERS)


def members_of(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a class that decide what it does, those of its bases left out."""
    if issubclass(kind, Enum):
        yield "members", {name: member._value_ for name, member in kind.__members__.items()}
    for name in _DECLARED:
        if name in vars(kind):
            yield name, repr(vars(kind)[name])
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            if field.default_factory is not dataclasses.MISSING:
                yield field.name, field.default_factory
    is_made = dataclasses.is_dataclass(kind)
    for name, value in vars(kind).items():
        if isinstance(value, _SKIPPED) or type(value).__name__ in _SKIPPED_NAMES or isinstance(value, Enum):
            continue
        function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if isinstance(function, FunctionType):
            # What a dataclass writes for itself follows from its fields.
            if not (is_made and function.__code__.co_filename == "<string>"):
                yield name, value
        elif not name.startswith("__") and not (name.startswith("_") and issubclass(kind, Enum)):
            yield name, value


def classes_in(hint: Any) -> Iterator[type]:
    """Yield the classes that an annotation names."""
    if isinstance(hint, type):
        yield hint
    for part in get_args(hint):
        yield from classes_in(part)


def told(hint: Any) -> str:
    """Return an annotation as text."""
    text = f"{hint.__module__}.{hint.__qualname__}" if isinstance(hint, type) and not get_args(hint) else repr(hint)
    return text.partition(" at 0x")[0]

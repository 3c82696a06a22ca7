"""The contract of a kind of value: how it is read from JSON, described, told to a client and kept in the log."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from drivetrain.data.schema import Column


class ValueKind(Protocol):
    """Reads and writes the values of one kind; what a column asks of them stands in its `form`."""

    def type_of(self, column: Column) -> Any:
        """Return the type that msgspec checks the JSON of a value against."""
        ...

    def read(self, value: Any, column: Column) -> Any:
        """Return what the model is handed, from JSON that has been checked, or from bytes where those are sent.

        Raises:
            ValueError: the value is none of this kind; the text says what was found.
        """
        ...

    def words(self, column: Column) -> str:
        """Return in words what the column takes."""
        ...

    def schema(self, column: Column) -> dict[str, Any]:
        """Return the JSON schema of a value."""
        ...

    def told(self, value: Any, column: Column) -> Any:
        """Return what a model gave as plain JSON.

        Raises:
            ValueError: it is not what the column says.
        """
        ...

    def logged(self, value: Any, column: Column) -> Any:
        """Return what the log keeps of a value that was read, or told: plain JSON of at most a few kB."""
        ...

    def example(self, column: Column) -> Any:
        """Return the JSON of a value that fits."""
        ...


# The kinds that are more than a table's column, each in the file of its name.
KINDS = ("tensor", "image", "structure")
# What is longer than this as JSON is logged by its digest.
MOST_LOGGED_BYTES = 4096


@lru_cache(maxsize=8)
def kind_named(name: str) -> ValueKind | None:
    """Return a kind of value; None for those of a table's columns, which need no more than their type.

    >>> kind_named("float") is None
    True
    """
    if name not in KINDS:
        return None
    kind: ValueKind = import_module(f"drivetrain.data.kinds.{name}").KIND
    return kind


def told(value: Any, column: Column) -> Any:
    """Return a value that a model gave for an output, as plain JSON.

    Raises:
        ValueError: it is not what the output says, or holds a number that is not finite.
    """
    kind = kind_named(column.kind)
    if value is None and column.nullable:
        return None
    if kind is not None:
        return kind.told(value, column)
    plain = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
    if column.kind == "float" and isinstance(plain, int) and not isinstance(plain, bool):
        plain = float(plain)
    wanted = {"bool": bool, "int": int, "float": float, "str": str}.get(column.kind)
    if wanted is not None and type(plain) is not wanted:
        raise ValueError(f"{column.name} is {type(value).__name__}, and was declared as {wanted.__name__}")
    if isinstance(plain, float) and not isfinite(plain):
        raise ValueError(f"{column.name} is no finite number")
    return msgspec.to_builtins(plain)


def logged(value: Any, column: Column) -> Any:
    """Return what the log keeps of a value that was read, or told."""
    kind = kind_named(column.kind)
    if kind is not None and value is not None:
        return kind.logged(value, column)
    return value

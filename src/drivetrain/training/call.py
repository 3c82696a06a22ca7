"""What stands in a class for a service that it calls: the class finds it as its attribute, and so does the graph."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivetrain.store.store import Store
    from drivetrain.system.part import Part


class Calls:
    """A service that a class calls."""

    service: Part

    def version_now(self, store: Store) -> str:
        """Return the version that answers by what a store has now; empty where none does."""
        raise NotImplementedError

    def bound(self, store: Store) -> Calls:
        """Return the same, which answers by what a store has wherever no server is at work."""
        raise NotImplementedError


def calls_in(value: Any) -> list[Calls]:
    """Return what a value calls: itself, or what it holds in lists, tuples and dicts."""
    if isinstance(value, Calls):
        return [value]
    if isinstance(value, list | tuple | dict):
        return [each for item in (value.values() if isinstance(value, dict) else value) for each in calls_in(item)]
    return []


def calls_of(made: type) -> dict[str, Any]:
    """Return the attributes of a class in which calls stand, those of its bases included."""
    members = {name: value for kind in reversed(inspect.getmro(made)) for name, value in vars(kind).items()}
    return {name: value for name, value in members.items() if calls_in(value)}


def bound_to(value: Any, store: Store) -> Any:
    """Return an attribute with each call in it bound to a store."""
    if isinstance(value, Calls):
        return value.bound(store)
    if isinstance(value, dict):
        return {name: bound_to(item, store) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(bound_to(item, store) for item in value)
    return value

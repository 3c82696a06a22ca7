"""A system: named parts that fit together, and the order in which they depend on each other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import Cycle, DeclarationError, DuplicateName, UnknownName
from drivetrain.system.part import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType


class System:
    """The declared whole. A module of parts is one; this is the explicit form of the same thing.

    >>> from drivetrain.system.function import step
    >>> @step
    ... def one() -> int:
    ...     return 1
    >>> @step
    ... def two(one: int) -> int:
    ...     return one + 1
    >>> list(System("numbers", two, one).parts)
    ['one', 'two']
    """

    def __init__(self, name: str, *parts: Part, module: ModuleType | None = None) -> None:
        self.name, self.module = name, module
        _name_after_variables(parts, sys._getframe(1).f_globals)
        named: dict[str, Part] = {}
        for part in _with_implied(parts):
            if part.name in named and named[part.name] is not part:
                raise DuplicateName(name=part.name, first=named[part.name].place, place=part.place)
            named[part.name] = part
        # Each output by its name, with the part that gives it.
        self.producers: dict[str, Part] = {}
        for part in named.values():
            for output in part.outputs():
                if output in self.producers and self.producers[output] is not part:
                    raise DuplicateName(name=output, first=self.producers[output].place, place=part.place)
                self.producers[output] = part
        self.needs: dict[str, dict[str, str]] = {}
        # The parts that must have had their turn before each: those it takes from, and those it waits for.
        self.givers: dict[str, list[str]] = {}
        for part in named.values():
            self.needs[part.name] = part.needs(self.producers)
            before = [*self.needs[part.name].values(), *part.waits(), *part.follows(self.producers)]
            for wanted in before:
                if wanted not in self.producers:
                    raise UnknownName(kind="input", name=wanted, known=list(self.producers), place=part.place)
            self.givers[part.name] = list(dict.fromkeys(self.producers[wanted].name for wanted in before))
        self.parts: dict[str, Part] = {name: named[name] for name in self._ordered(named)}
        for part in self.parts.values():
            part.check(self.producers)

    def upstream(self, *names: str) -> list[str]:
        """Return the names of the parts that some depend on, with themselves, in an order that can be run."""
        wanted = set(names)
        for part in reversed(self.parts):
            if part in wanted:
                wanted.update(self.givers[part])
        return [part for part in self.parts if part in wanted]

    def downstream(self, name: str) -> list[str]:
        """Return `name` and the parts that depend on it, in an order that can be run."""
        wanted = {name}
        for part in self.parts:
            if not wanted.isdisjoint(self.givers[part]):
                wanted.add(part)
        return [part for part in self.parts if part in wanted]

    def of_role(self, kind: type[Part] | str) -> list[Any]:
        """Return the parts of a class or role, in order."""
        return [
            part
            for part in self.parts.values()
            if (kind == part.ROLE if isinstance(kind, str) else isinstance(part, kind))
        ]

    def edges(self) -> list[tuple[str, str]]:
        """Return each arrow of the graph once: from a part to one that takes or mentions it."""
        arrows = [(giver, part) for part, givers in self.givers.items() for giver in givers]
        arrows += [(other.name, part.name) for part in self.parts.values() for other in part.refers()]
        return list(dict.fromkeys(arrows))

    def _ordered(self, named: Mapping[str, Part]) -> list[str]:
        before = {
            name: list(
                dict.fromkeys(self.givers[name] + [other.name for other in part.refers() if other.name in named])
            )
            for name, part in named.items()
        }
        ordered: dict[str, None] = {}
        for start in named:
            # Depth first with a stack of our own, so that a chain of any length fits.
            trail: dict[str, None] = {}
            stack = [start]
            while stack:
                name = stack[-1]
                if name in ordered:
                    stack.pop()
                    continue
                trail[name] = None
                waiting = [other for other in before[name] if other not in ordered]
                if not waiting:
                    ordered[name] = None
                    trail.pop(name)
                    stack.pop()
                elif waiting[0] in trail:
                    names = list(trail)
                    raise Cycle(names=names[names.index(waiting[0]) :], place=named[name].place)
                else:
                    stack.append(waiting[0])
        return list(ordered)


def system_of(module: ModuleType, made: Iterable[Any] = ()) -> System:
    """Return the system that a module declares: its explicit `System`, or all of its parts.

    A part without a name gets that of its variable, or of its key in a dict. `made` is what was declared while the
    module was imported: of its own parts none may be lost, since a gate that nobody holds would guard nothing.

    Raises:
        DeclarationError: a part has no name, or is lost.
    """
    values = {name: value for name, value in vars(module).items() if not name.startswith("__") and name != "_"}
    for value in values.values():
        if isinstance(value, System):
            value.module = module
            return value
    # Variables first: what a list or dict holds may have a variable of its own, too.
    found = [(name, value) for name, value in values.items() if isinstance(value, Part)]
    found += [each for value in values.values() for each in _held(value, seen=set())]
    parts: dict[int, Part] = {}
    for name, part in found:
        name_part(part, name)
        parts[id(part)] = part
    system = System(module.__name__, *parts.values(), module=module)
    kept = {id(part) for part in system.parts.values()}
    for part in made:
        # Of a split both sides come at once, and one may be left.
        if isinstance(part, Part) and id(part) not in kept and part.place.file == module.__file__:
            if part.name in system.parts:
                raise DuplicateName(name=part.name, first=part.place, place=system.parts[part.name].place)
            if part.ROLE != "split" and part is not vars(module).get("_"):
                raise DeclarationError(
                    f"a {part.ROLE} is declared here, and nothing holds it",
                    remedy="assign it to a variable of its own at the top of the module, or put it into a list or dict",
                    place=part.place,
                )
    return system


def _held(value: Any, *, seen: set[int]) -> Iterator[tuple[str, Part]]:
    """Yield the parts in a collection, however deep, each with its key where that is text."""
    if not isinstance(value, (dict, list, tuple, set, frozenset)) or id(value) in seen:
        return
    seen.add(id(value))
    for key, item in value.items() if isinstance(value, dict) else (("", item) for item in value):
        if isinstance(item, Part):
            yield (key if isinstance(key, str) else ""), item
        else:
            yield from _held(item, seen=seen)


def name_part(part: Part, name: str) -> None:
    """Give a part its name, once; as `__set_name__` does for the attributes of a class."""
    if not part.name:
        msgspec.structs.force_setattr(part, "name", name)


def _name_after_variables(parts: Iterable[Part], variables: Mapping[str, Any]) -> None:
    """Give each part without a name that of the variable which holds it where the system is put together."""
    for part in _with_implied(parts):
        if not part.name:
            for name, value in variables.items():
                if value is part:
                    name_part(part, name)
        if not part.name:
            raise DeclarationError(
                f"a {part.ROLE} has no name",
                remedy="assign it to a variable of the module, or give it `name=`",
                place=part.place,
            )


def _with_implied(parts: Iterable[Part]) -> list[Part]:
    """Return the parts and those that they bring along, each once."""
    found: dict[int, Part] = {}
    stack = list(reversed(list(parts)))
    while stack:
        part = stack.pop()
        if id(part) not in found:
            found[id(part)] = part
            stack.extend(reversed(part.refers()))
    return list(found.values())

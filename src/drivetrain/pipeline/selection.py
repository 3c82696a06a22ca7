"""A selection: which parts of a system are meant by names, patterns and the arrows around them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from drivetrain.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from drivetrain.system.system import System

_ITEM = re.compile(r"(?P<step>[^\[\]]+)\[(?P<label>.+)\]")


def selected(system: System, targets: Sequence[str], without: Sequence[str] = ()) -> set[str]:
    """Return the names of the parts that targets stand for, with all that they need; without targets, every part.

    `model` and `+model` are a part with what it needs, `model+` a part, what depends on it, and what those need; names
    may be patterns. Those that match `without` are left out, and so is what depends on them.

    Raises:
        UnknownName: a target stands for no part.
        UsageError: a part is both asked for by its name and left out, or nothing is left.
    """
    asked: dict[str, None] = {}
    by_name: dict[str, str] = {}
    for target in targets:
        found = matching(system, target.strip("+"))
        if found == [target.strip("+")]:
            by_name[found[0]] = target
        asked |= dict.fromkeys(found)
        if target.endswith("+"):
            asked |= dict.fromkeys(name for start in found for name in system.downstream(start))
    left_out: dict[str, str] = {}
    for pattern in without:
        for name in matching(system, pattern):
            left_out |= dict.fromkeys(system.downstream(name), name)
    for name in by_name.keys() & left_out.keys():
        reason = "is left out" if left_out[name] == name else f"depends on {left_out[name]!r}, which is left out"
        raise UsageError(f"{name!r} is asked for, and it {reason}", remedy="name only one of the two")
    # What only those that are left out need is of no use either.
    ends = [name for name in (asked if targets else system.parts) if name not in left_out]
    wanted = set(system.upstream(*ends)) - left_out.keys()
    if without and not any(system.parts[name].RUNS for name in wanted):
        raise UsageError("nothing is left to run", remedy=f"leave out less than {', '.join(without)}")
    return wanted


def matching(system: System, pattern: str) -> list[str]:
    """Return the parts that a name or pattern stands for; an output stands for its part.

    Raises:
        UnknownName: it stands for none.
    """
    owners = {output: part.name for output, part in system.producers.items()} | {name: name for name in system.parts}
    if pattern in owners:
        return [owners[pattern]]
    found = {owner: None for name, owner in owners.items() if fnmatchcase(name, pattern)}
    if not found:
        raise UnknownName(kind="part", name=pattern, known=list(system.parts))
    return list(found)


def item_named(name: str) -> tuple[str, str]:
    """Return the step and the item that a name or pattern such as `rows[2013-*]` means; the item is empty without one.

    >>> item_named("rows[2013-*]"), item_named("rows")
    (('rows', '2013-*'), ('rows', ''))
    """
    found = _ITEM.fullmatch(name)
    return (found["step"], found["label"]) if found else (name, "")


def is_meant(step: str, label: str, names: Collection[str]) -> bool:
    """Return whether an item of a step is among names and patterns.

    >>> is_meant("rows", "2013-02", ["rows[2013-*]"]), is_meant("rows", "2014-01", ["rows[2013-*]"])
    (True, False)
    """
    for name in names:
        owner, pattern = item_named(name)
        if owner == step and (not pattern or pattern == label or fnmatchcase(label, pattern)):
            return True
    return False

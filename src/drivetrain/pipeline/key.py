"""A step's key: the digest of everything that decides what it gives. The same key never runs twice."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.pipeline.code import CodeReader
    from drivetrain.system.part import Part


def ingredients_of(
    part: Part, *, code: CodeReader, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Return what the key of a part is made of, the sources behind its code digests, and warnings.

    `settings` are the part's own, `inputs` the digests of what it takes, by its word for each.
    """
    made_of = {f"role.{part.ROLE}": ""}
    sources: dict[str, str] = {}
    warnings: list[str] = []
    function = part.function_of()
    if function is not None:
        found = code.read(function)
        made_of |= found.ingredients
        sources, warnings = found.sources, found.warnings
    for name, value in part.declared().items():
        made_of[f"declared.{name}"] = msgspec.json.encode(value, order="deterministic").decode()
    for name, value in settings.items():
        made_of[f"setting.{name}"] = msgspec.json.encode(value, order="deterministic").decode()
    for name, digest in inputs.items():
        made_of[f"input.{name}"] = digest
    return made_of, sources, warnings


def key_of(ingredients: Mapping[str, str]) -> str:
    """Return the key: 32 hexadecimal digits.

    >>> key_of({"setting.depth": "3"}) == key_of({"setting.depth": "3"})
    True
    """
    return sha256(msgspec.json.encode(sorted(ingredients.items()))).hexdigest()[:32]


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return, for people, what differs between the ingredients of two keys.

    >>> changes({"setting.depth": "3"}, {"setting.depth": "4"})
    ['setting depth: 3 → 4']
    """
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        family, _, rest = name.partition(".")
        if family == "code":
            found.append(f"code of {rest} {'is new' if old is None else 'is gone' if new is None else 'changed'}")
        elif family == "input":
            found.append(f"input {rest} changed")
        elif old is None or new is None:
            found.append(f"{family} {rest} {'is new' if old is None else 'is gone'}")
        elif family == "constant":
            found.append(f"constant {rest} changed")
        else:
            found.append(f"{family} {rest}: {old} → {new}")
    return found

"""A step's key: the digest of everything that decides what it gives. The same key never runs twice."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.source import files_named_by
from drivetrain.system.function import FunctionPart
from drivetrain.system.outside import environment_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from drivetrain.pipeline.code import CodeReader
    from drivetrain.store.store import Store
    from drivetrain.system.part import Part


def ingredients_of(
    part: Part,
    *,
    code: CodeReader,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    store: Store,
    root: Path,
    items: Sequence[Mapping[str, str]] = (),
) -> tuple[dict[str, str], Mapping[str, str], list[str]]:
    """Return what the key of a part is made of, the sources behind its code digests, and warnings.

    `settings` are the part's own, `inputs` the digests of what it takes, by its word for each; `root` is the project's
    folder, and `items` are those whose files count.

    Raises:
        DeclarationError: a file that the part declares is not there.
    """
    made_of = {f"role.{part.ROLE}": ""}
    sources: Mapping[str, str] = {}
    warnings: list[str] = []
    function, found = part.function_of(), None
    if function is not None:
        hints = function.__annotations__ if isinstance(part, FunctionPart) else {}
        found = code.read(function, hints, names_files=part.ROLE == "dataset")
        made_of |= found.ingredients
        sources, warnings = found.sources, found.warnings
    if (outputs := list(part.outputs())) != [part.name] or function is None:
        made_of["declared.outputs"] = ", ".join(outputs)
    for name, value in part.declared().items():
        made_of[f"declared.{name}"] = msgspec.json.encode(value, order="deterministic").decode()
    for name, value in settings.items():
        made_of[f"setting.{name}"] = msgspec.json.encode(value, order="deterministic").decode()
    for name, digest in inputs.items():
        made_of[f"input.{name}"] = digest
    for name in part.environment_read():
        made_of[f"environment.{name}"] = environment_digest(name)
    files = part.files_read(root, items)
    late = [" ".join(item.values()) for item in items if not part.is_there(item, root)]
    if late:
        warnings = [*warnings, f"{part.place}: {', '.join(late)} of {part.name!r} has no file yet, and is left out"]
    if found is not None and found.reads:
        texts = found.texts | {value for value in settings.values() if isinstance(value, str)}
        files |= files_named_by(texts, part.place.file)
    for name, path in files.items():
        made_of[f"file.{name}"] = _digest(path, store)
    return made_of, sources, warnings


def key_of(ingredients: Mapping[str, str]) -> str:
    """Return the key: 32 hexadecimal digits.

    >>> key_of({"setting.depth": "3"}) == key_of({"setting.depth": "3"})
    True
    """
    return sha256(msgspec.json.encode(sorted(ingredients.items()))).hexdigest()[:32]


def _digest(path: Path, store: Store) -> str:
    try:
        return store.fingerprints.digest(path)[7:23]
    except FileNotFoundError:  # another process was faster
        return "gone"
    except OSError:  # the step will say what is wrong with it
        return "unreadable"

"""A node of a run: a part, or a part for one item of what it is mapped over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import StepFailed, Unkeepable
from drivetrain.store import exact
from drivetrain.store.collection import FORMAT
from drivetrain.store.digest import digest_of
from drivetrain.system.conduct import Items

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store
    from drivetrain.system.part import Part
    from drivetrain.system.system import System

LABEL_LETTERS = 60


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One item that a mapped step takes: its digest, and either the value or the artifact that holds it."""

    digest: str
    value: Any = None
    artifact: Any = None


class Node:
    """One thing to do in a run. `item` has what a mapped part takes this time, by parameter."""

    def __init__(self, part: Part, *, label: str = "", item: Mapping[str, Item] | None = None) -> None:
        self.part, self.label, self.item = part, label, dict(item or {})
        self.name = f"{part.name}[{label}]" if label else part.name
        self.is_mapped = bool(part.conduct.each) and not label
        # The names of the nodes that must be settled first.
        self.waits_for: set[str] = set()
        # What the key of a mapped step was made of when it was expanded, and the sources of its code.
        self.made_of: tuple[dict[str, str], Mapping[str, str]] | None = None
        self.expanded_at: datetime | None = None
        # Set when it runs again because something was found damaged.
        self.reason = ""


def items_of(part: Part, artifacts: Mapping[str, Artifact], store: Store) -> dict[str, dict[str, Item]]:
    """Return the items of a mapped part, by label: for each parameter that is mapped, what it takes.

    Raises:
        StepFailed: what it is mapped over is no list or dict, or two of them do not fit.
    """
    columns = {}
    for word, source in part.conduct.sources().items():
        columns[word] = _column(part, word, source, artifacts, store)
    first, *others = columns
    for other in others:
        if list(columns[other]) != list(columns[first]):
            raise StepFailed(
                step=part.name,
                cause=f"it takes the items of {first!r} and {other!r} together, and they are not the same: "
                f"{len(columns[first])} and {len(columns[other])}",
                place=part.place,
            )
    return {label: {word: columns[word][label] for word in columns} for label in columns[first]}


def texts_of(node: Node, artifacts: Mapping[str, Artifact], store: Store) -> list[dict[str, str]]:
    """Return the items whose files count in a node's key, as texts: its own, or all of a mapped part.

    Nothing where no file is filled in for items, or what they are taken from is not there yet.
    """
    part = node.part
    if not part.files_of_items():
        return []
    if not node.is_mapped:
        return [_texts(node.label, node.item)]
    sources = part.conduct.sources().values()
    if any(isinstance(source, str) and source not in artifacts for source in sources):
        return []
    return [_texts(label, item) for label, item in items_of(part, artifacts, store).items()]


def items_there(
    part: Part, artifacts: Mapping[str, Artifact], store: Store, root: Path
) -> tuple[dict[str, dict[str, Item]], list[str]]:
    """Return the items that are there, and the labels of those that are late."""
    items = items_of(part, artifacts, store)
    there = {label: item for label, item in items.items() if part.is_there(_texts(label, item), root)}
    return there, [label for label in items if label not in there]


def inputs_of(node: Node, system: System, artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    """Return the digest of each thing that a node takes, by the part's own word for it."""
    found = {
        word: artifacts[need].digest if need in artifacts else "skipped"
        for word, need in system.needs[node.part.name].items()
    }
    return (
        found
        | {word: item.digest for word, item in node.item.items()}
        | (listed_items(node.part) if node.is_mapped else {})
    )


def taken_by(node: Node, system: System, artifacts: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """Return each artifact that a node takes and that is there, by the part's own word for it."""
    needs = system.needs[node.part.name]
    found = {word: artifacts[need] for word, need in needs.items() if need in artifacts}
    return found | {word: item.artifact for word, item in node.item.items() if item.artifact is not None}


def why_skipped(part: Part, system: System, artifacts: Mapping[str, Artifact], store: Store) -> str:
    """Return why a part is skipped: its condition does not hold, or what it needs was skipped; empty otherwise."""
    for condition in part.waits():
        if condition not in artifacts:
            return f"{condition} was skipped"
        if not store.value(artifacts[condition], bool):
            return f"{condition} is false"
    for word, need in system.needs[part.name].items():
        if need not in artifacts and word not in part.optional():
            return f"{need} was skipped"
    return ""


def listed_items(part: Part) -> dict[str, str]:
    """Return the digest of the items that are written down where a mapped part is declared, by its word for them."""
    listed = {word: source for word, source in part.conduct.sources().items() if not isinstance(source, str)}
    try:
        return {
            word: digest_of(exact.encode(source.now() if isinstance(source, Items) else source))
            for word, source in listed.items()
        }
    except Unkeepable as error:
        what = f"what {part.name!r} is mapped over{error.where}"
        raise Unkeepable(**error.facts | {"where": what, "place": part.place}) from error


def _column(part: Part, word: str, source: Any, artifacts: Mapping[str, Artifact], store: Store) -> dict[str, Item]:
    if isinstance(source, str):
        artifact = artifacts[source]
        if artifact.format == FORMAT:
            members = store.collection(artifact).members
            return {label: Item(digest=member.digest, artifact=member) for label, member in members.items()}
        found = store.value(artifact) if artifact.format == "json" else None
    else:
        found = source.now() if isinstance(source, Items) else source
    if isinstance(found, dict):
        if "" in found:
            raise StepFailed(
                step=part.name, cause=f"an item of {word!r} has no name: its key is empty text", place=part.place
            )
        return {str(label): _item(value) for label, value in found.items()}
    if not isinstance(found, (list, tuple)):
        raise StepFailed(
            step=part.name,
            cause=f"{word!r} takes each item of {source!r}, which is neither a list nor a dict",
            place=part.place,
        )
    return dict(zip(_labels(found), map(_item, found), strict=True))


def _texts(label: str, item: Mapping[str, Item]) -> dict[str, str]:
    """Return an item as the words that stand for it in the name of a file."""
    return {
        word: str(each.value) if isinstance(each.value, (str, int)) and not isinstance(each.value, bool) else label
        for word, each in item.items()
    }


def _item(value: Any) -> Item:
    return Item(digest=digest_of(exact.encode(value)), value=value)


def _labels(items: list[Any] | tuple[Any, ...]) -> list[str]:
    """Return a name for each item: the item itself where all are short words or numbers and differ, else its number."""
    texts = [str(item) for item in items if isinstance(item, (str, int)) and 0 < len(str(item)) <= LABEL_LETTERS]
    if len(texts) == len(items) == len(set(texts)) and all(text.isprintable() for text in texts):
        return texts
    return [str(number) for number in range(len(items))]

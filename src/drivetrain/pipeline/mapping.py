"""Mapped steps on their way: a node for each item, and the collection when all of them have come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import UnknownName
from drivetrain.pipeline.failure import failure_of
from drivetrain.pipeline.node import Node, items_there
from drivetrain.pipeline.selection import is_meant, item_named
from drivetrain.pipeline.task import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from drivetrain.pipeline.attempt import Attempts
    from drivetrain.pipeline.task import Order
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store


class Gathering:
    """The outputs of mapped steps so far, by the step and the label of the item."""

    def __init__(self, store: Store, root: Path, force: Collection[str]) -> None:
        self._store, self._root, self._force = store, root, force
        self._members: dict[str, dict[str, dict[str, Artifact]]] = {}
        # The labels of the items that have not come.
        self._missing: dict[str, set[str]] = {}

    def expand(self, node: Node, artifacts: Mapping[str, Artifact]) -> list[Node]:
        """Return a node for each item of a mapped one that is there.

        Raises:
            UnknownName: an item is forced that it does not have.
        """
        items, _ = items_there(node.part, artifacts, self._store, self._root)
        for name in self._forced(node):
            if not any(is_meant(node.name, label, [name]) for label in items):
                raise UnknownName(
                    kind=f"item of {node.name!r}", name=item_named(name)[1], known=list(items), place=node.part.place
                )
        self._members[node.name] = {label: {} for label in items}
        self._missing[node.name] = set(items)
        children = [Node(node.part, label=label, item=item) for label, item in items.items()]
        for child in children:
            child.reason = "forced" if is_meant(node.name, child.label, self._force) else ""
        return children

    def is_forced(self, node: Node) -> bool:
        """Return whether some items of a mapped step are forced, so that it is not taken as a whole."""
        return node.is_mapped and bool(self._forced(node))

    def _forced(self, node: Node) -> list[str]:
        return [name for name in self._force if item_named(name)[1] and item_named(name)[0] == node.name]

    def labels(self, node: Node) -> list[str] | None:
        """Return the labels of a mapped step that is on its way; None before it is expanded."""
        members = self._members.get(node.name) if node.is_mapped else None
        return None if members is None else list(members)

    def take(self, node: Node, outputs: dict[str, Artifact]) -> bool:
        """Take the outputs of an item, and return whether it was the last."""
        name = node.part.name
        self._members[name][node.label] = outputs
        self._missing[name].discard(node.label)
        return not self._missing[name]

    def forget(self, node: Node) -> None:
        """Let a mapped step come together anew."""
        self._members.pop(node.name, None)

    def together(self, node: Node, order: Order, attempts: Attempts) -> Outcome:
        """Return the outputs of a mapped step, whose items have all come."""
        outputs = {}
        try:
            for name in node.part.outputs():
                members = {label: found[name] for label, found in self._members[node.name].items()}
                kept = self._store.keep_collection(members)
                whole = msgspec.structs.replace(order, artifacts={**order.artifacts, name: kept})
                task = attempts.task(whole)
                try:
                    outputs[name] = msgspec.structs.replace(kept, detail=node.part.gathered(task, name))
                finally:
                    task.points.close()
        except BaseException as error:
            return Outcome(error=failure_of(node.name, node.part, error, attempts.root))
        return Outcome(outputs=outputs)

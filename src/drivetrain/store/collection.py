"""A collection: the outputs of a mapped step, one for each item, under one digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec

from drivetrain.errors import WrongForm
from drivetrain.store.artifact import Artifact
from drivetrain.store.codecs.codec import codec_named, family_of, plain_form

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = "collection"


class Collection(msgspec.Struct, frozen=True):
    """The members by label, in the order of the items."""

    members: dict[str, Artifact]

    @property
    def rows(self) -> int | None:
        """The rows of all members together, where all of them have rows."""
        counts = [member.rows for member in self.members.values()]
        return sum(count for count in counts if count is not None) if counts and None not in counts else None

    @property
    def size_bytes(self) -> int:
        """The bytes of all members together."""
        return sum(member.size_bytes for member in self.members.values())


def value_of(collection: Collection, form: Any, read: Callable[[Artifact, Any], Any]) -> Any:
    """Return a collection as a list, a dict by label, or one table with the rows of all; `read` gives a member's value.

    Raises:
        WrongForm: it is asked for as something else.
    """
    members = collection.members
    kind = plain_form(form)
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in (None, Any, list):
        return [read(member, arguments[0] if arguments else None) for member in members.values()]
    if origin is tuple:
        return tuple(read(member, arguments[0] if arguments else None) for member in members.values())
    if origin is dict:
        inner = arguments[1] if arguments else None
        return {label: read(member, inner) for label, member in members.items()}
    joined = getattr(codec_named(family_of(kind) or "json"), "joined", None)
    if joined is None or not members:
        raise WrongForm(format=FORMAT, wanted=getattr(kind, "__qualname__", str(kind)))
    return joined([read(member, kind) for member in members.values()])

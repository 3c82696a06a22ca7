"""The interface of a service: what a client that is made for it has to know."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.schema import Column

if TYPE_CHECKING:
    from drivetrain.registry.version import Signature


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """The columns that are asked for and the answers that come, with a digest that changes when a client must.

    `optional` are columns that may be left out. `key` is the one by which labels may come; None where there is none.
    """

    service: str
    signature: str
    task: str
    label: str
    classes: list[Any]
    key: str | None
    columns: list[Column]
    optional: list[str]
    max_rows: int


def interface_of(service: str, signature: Signature, *, max_rows: int) -> Interface:
    """Return what a client of a service has to know."""
    key = signature.roles.key
    return Interface(
        service=service,
        signature=digest_of(signature),
        task=signature.task,
        label=signature.label,
        classes=signature.classes,
        key=key if any(column.name == key for column in signature.request) else None,
        columns=signature.request,
        optional=[column.name for column in signature.request if column.nullable or column.name == key],
        max_rows=max_rows,
    )


def digest_of(signature: Signature) -> str:
    """Return sixteen letters that change when what is asked or answered does, and not with examples or the order.

    >>> from drivetrain.data.schema import Roles
    >>> from drivetrain.registry.version import Signature
    >>> a, b = (Column(name="x", kind="float", dtype="Float64", example=each) for each in (1.0, 2.0))
    >>> one, other = (
    ...     Signature(task="regression", label="y", request=[each], features=[each], roles=Roles()) for each in (a, b)
    ... )
    >>> digest_of(one) == digest_of(other)
    True
    """
    told = {
        "task": signature.task,
        "label": signature.label,
        "classes": signature.classes,
        "key": signature.roles.key,
        "columns": sorted((each.name, each.kind, each.dtype, each.nullable) for each in signature.request),
    }
    return sha256(msgspec.json.encode(told, order="sorted")).hexdigest()[:16]

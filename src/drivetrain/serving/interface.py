"""The interface of a service: what a client that is made for it has to know."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.schema import Column
from drivetrain.serving.contract import answer_of, label_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from drivetrain.registry.version import Signature


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """The columns that are asked for and the answers that come, with a digest that changes when a client must.

    `answer` and `truth` are the types of a prediction and of a label, by their names in Python; several are joined by
    ` | `, and `Any` is what is more than a plain value.
    `optional` are columns that may be left out. `key` is the one by which labels may come; None where there is none.
    """

    service: str
    signature: str
    task: str
    label: str
    classes: list[Any]
    key: str | None
    answer: str
    truth: str
    columns: list[Column]
    optional: list[str]
    max_rows: int


_TYPES = {"double": "float", "int64": "int", "string": "str", "bool": "bool"}


def interface_of(service: str, signature: Signature, *, max_rows: int, optional: Collection[str] = ()) -> Interface:
    """Return what a client of a service has to know; `optional` are further columns that may be left out."""
    key = signature.roles.key
    lacking = {*optional, *([key] if key else [])}
    answer, truth = answer_of(signature), label_of(signature)
    return Interface(
        service=service,
        signature=digest_of(signature),
        task=signature.task,
        label=signature.label,
        classes=signature.classes,
        key=key if any(column.name == key for column in signature.request) else None,
        answer="Any" if answer.is_json else _TYPES[answer.type],
        truth="bool | float | int | str" if truth.is_json else _TYPES[truth.type],
        columns=signature.request,
        optional=[each.name for each in signature.request if each.nullable or each.name in lacking],
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
        "columns": [
            (each.name, each.kind, each.dtype, each.nullable, each.form)
            for each in sorted(signature.request, key=lambda each: each.name)
        ],
        "outputs": [(each.name, each.kind, each.dtype, each.nullable, each.form) for each in signature.outputs],
        "streams": signature.streams,
    }
    return sha256(msgspec.json.encode(told, order="sorted")).hexdigest()[:16]

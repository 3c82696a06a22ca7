"""Plain values as JSON: dicts, lists, dataclasses, TypedDicts, Structs and what msgspec knows beside them.

Without an annotation a value comes back as JSON's own kinds: a tuple or set as a list, a moment as text, a dict's keys
as text, a dataclass as a dict. With the consumer's annotation it comes back as it was.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, get_origin, is_typeddict
from uuid import UUID

import msgspec

from drivetrain.errors import WrongForm
from drivetrain.store import exact
from drivetrain.store.codecs.codec import Written, plain_form

if TYPE_CHECKING:
    from pathlib import Path

_PLAIN = (
    dict, list, tuple, set, frozenset, str, bytes, int, float, bool, type(None),
    date, datetime, time, timedelta, Decimal, Enum, UUID,
)  # fmt: skip


class JSONCodec:
    """Keeps whatever JSON can hold, numbers that are not finite included; see `store.exact`."""

    formats = frozenset({"json"})
    shares = False

    def keeps(self, kind: Any) -> bool:
        """Return whether values of this type or annotation can be kept."""
        if kind is Any or kind is None:
            return True
        origin = get_origin(kind) or kind
        if not isinstance(origin, type):
            return True  # a union, a literal: the value decides
        return issubclass(origin, (*_PLAIN, msgspec.Struct)) or is_dataclass(origin) or is_typeddict(origin)

    def write(self, value: Any, path: Path) -> Written:
        path.write_bytes(exact.encode(value))
        return Written("json", len(value) if isinstance(value, list) else None)

    def read(self, path: Path, form: Any) -> Any:
        try:
            return exact.decode(path.read_bytes(), Any if form is None else form)
        except msgspec.ValidationError as error:
            wanted = getattr(plain_form(form), "__qualname__", str(form))
            raise WrongForm(format=f"json (where {error})", wanted=wanted) from error


CODEC = JSONCodec()

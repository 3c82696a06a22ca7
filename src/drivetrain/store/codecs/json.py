"""Plain values as JSON, text and bytes: what the standard library and msgspec know."""

from __future__ import annotations

from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, get_origin, is_typeddict
from uuid import UUID

import msgspec

from drivetrain.store.codecs.codec import Written

if TYPE_CHECKING:
    from pathlib import Path

_PLAIN = (
    dict, list, tuple, set, frozenset, str, bytes, int, float, bool, type(None),
    date, datetime, time, timedelta, Decimal, Enum, UUID,
)  # fmt: skip


class JSONCodec:
    """Keeps str as text, bytes as they are, and all else that JSON can hold."""

    formats = frozenset({"json", "text", "bytes", "html", "png"})
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
        if isinstance(value, bytes):
            path.write_bytes(value)
            return Written("bytes")
        if isinstance(value, str):
            path.write_text(value, encoding="utf-8", newline="")
            return Written("text")
        path.write_bytes(msgspec.json.encode(value, order="deterministic"))
        return Written("json", len(value) if isinstance(value, list) else None)

    def read(self, path: Path, form: Any) -> Any:
        data = path.read_bytes()
        if form is bytes:
            return data
        if form is str:
            return data.decode()
        return msgspec.json.decode(data, type=Any if form is None else form)


CODEC = JSONCodec()

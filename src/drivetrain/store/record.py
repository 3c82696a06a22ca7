"""A record: one noun of the ledger, whose class is the JSON body and the table alike."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letter is taken for a digit


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger.

    `TABLE` names the table, `KEY` the fields that identify a row (writing the same key again replaces the row) and
    `INDEXES` the fields it is often looked up by. Fields of type str, int, float, bool and datetime become columns of
    their own; anything else becomes a JSON column.
    """

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]] = ("id",)
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = ()


def now() -> datetime:
    """Return the present moment in UTC, with microseconds."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """Return a new identifier whose order is the order of creation, to the millisecond.

    >>> new_id("run").startswith("run-")
    True
    >>> len(new_id("run"))
    17
    """
    number = (int(time.time() * 1000) << 20) | int.from_bytes(os.urandom(3), "big") >> 4
    letters = ""
    for _ in range(13):
        letters = _ALPHABET[number & 31] + letters
        number >>= 5
    return f"{prefix}-{letters}"

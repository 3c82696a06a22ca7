"""A record: one noun of the ledger, whose class is the JSON body and the table alike."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letter is taken for a digit


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger.

    `TABLE` names the table, `KEY` the fields that identify a row (writing the same key again replaces the row) and
    `INDEXES` the fields it is often looked up by. Fields of type str, int, float, bool and datetime become columns of
    their own; anything else becomes a JSON column. Moments come back in UTC.
    """

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]] = ("id",)
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = ()


# What tells the time instead of the machine's clock; a test sets it.
clock: Callable[[], datetime] | None = None


def now() -> datetime:
    """Return the present moment in UTC, with microseconds."""
    return datetime.now(UTC) if clock is None else clock()


def utc(moment: datetime) -> datetime:
    """Return a moment in UTC; one without a zone, as data often has, is taken to be in UTC.

    >>> utc(datetime(2013, 4, 1)).isoformat()
    '2013-04-01T00:00:00+00:00'
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


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

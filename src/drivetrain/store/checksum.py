"""A row's checksum: what tells that a disk has changed a value since it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

COLUMN = "_sum"


def checksum(names: Iterable[str], values: Iterable[Any]) -> int:
    """Return the CRC-32 of a row's values as SQLite gives them back, each with the name of its column, in that order.

    What is NULL does not count, so that a column that a table grows later changes no sum. `ascii` writes numbers and
    text in the same way under every version of Python and of Unicode.

    >>> checksum("abc", [1, None, "a"]) == checksum("ac", [1, "a"])
    True
    """
    # The values may be followed by the sum itself.
    named = [(name, value) for name, value in zip(names, values) if value is not None]  # noqa: B905
    return crc32(ascii(named).encode())

"""A row's checksum: what tells that a disk has changed a value since it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

COLUMN = "_sum"


def checksum(values: Iterable[Any]) -> int:
    """Return the CRC-32 of a row's values as SQLite gives them back, in the alphabetical order of their columns.

    What is NULL does not count, so that a column that a table grows later changes no sum. `ascii` writes numbers and
    text in the same way under every version of Python and of Unicode.

    >>> checksum([1, None, "a"]) == checksum([1, "a"])
    True
    """
    return crc32(ascii([value for value in values if value is not None]).encode())

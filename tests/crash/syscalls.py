"""What syscalls.c can do, in Python: the plan it is given, and the trace it leaves."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple


class Kind(IntEnum):
    """What a call changes. A note is what the process told its user, in its place among the calls."""

    NOTE = 0
    WRITE = 1
    SYNC = 2
    RENAME = 3
    UNLINK = 4
    TRUNCATE = 5
    CREATE = 6
    OPEN = 7
    MKDIR = 8
    RMDIR = 9
    LINK = 10
    MODE = 11


class Action(IntEnum):
    """What happens at the chosen call."""

    WATCH = 0
    KILL = 1
    KILL_TORN = 2  # half of a write reaches the file first
    FAIL = 3
    FAIL_ON = 4  # this call and every later one of the same kinds
    SHORTEN = 5  # a write takes half of what it was given, and says so


CHANGES = frozenset(Kind) - {Kind.NOTE, Kind.OPEN}
OPENS = frozenset({Kind.OPEN, Kind.CREATE})


class Plan(ctypes.Structure):
    """The `struct plan` of syscalls.c, in memory that a child shares with its parent."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("action", "at", "error", "kinds", "trace", "calls", "kind", "happened")),
        ("folder", ctypes.c_char * 4096),
    ]


class Call(NamedTuple):
    """A call as it was carried out: `result` is what it returned, an error as a negative number."""

    kind: Kind
    path: str
    other: str
    data: bytes
    file: int
    offset: int
    result: int


_HEAD = struct.Struct("=IIIIQqq")


def read_trace(path: Path) -> list[Call]:
    """Return the calls in the order in which they were made."""
    return list(_calls(path.read_bytes()))


def _calls(data: bytes) -> Iterator[Call]:
    at = 0
    while at < len(data):
        kind, path, other, size, file, offset, result = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        texts = data[at : at + path].decode(), data[at + path : at + path + other].decode()
        at += path + other
        yield Call(Kind(kind), *texts, data[at : at + size], file, offset, result)
        at += size

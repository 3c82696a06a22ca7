"""What a disk may hold after the power went, worked out from a trace of the calls before it.

What was synced is there. Of the rest, each 512 bytes of a write, each truncation and each change of a folder may be
there or not, whatever the order in which they were made. What a sync that failed was asked to keep is gone for good,
as Linux marks such pages clean: a later sync that succeeds does not bring it back.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.crash.syscalls import Call, Kind

SECTOR_BYTES = 512


class Change(NamedTuple):
    """A part of a file: bytes at a place, or its end when `data` is None."""

    offset: int
    data: bytes | None


class File:
    """A file or folder: what is on the disk for certain, and the changes that are not yet."""

    def __init__(self, *, is_folder: bool = False) -> None:
        self.is_folder = is_folder
        self.kept = bytearray()
        self.pending: list[Change] = []

    def sync(self, *, failed: bool) -> None:
        if not failed:
            for change in self.pending:
                _apply(self.kept, change)
        self.pending.clear()

    def after_cut(self, chance: Random, share: float) -> bytes:
        content = bytearray(self.kept)
        for change in self.pending:
            for piece in _pieces(change):
                if chance.random() < share:
                    _apply(content, piece)
        return bytes(content)


class Name(NamedTuple):
    """A name that a folder got, or lost when `file` is None."""

    path: str
    file: File | None


class Disk:
    """A folder that was empty at first, brought forward call by call."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.seen: dict[str, File] = {}  # as the processes see it
        self.kept: dict[str, File] = {}
        self.pending: list[Name] = []
        self.open: dict[int, File] = {}

    def carry_out(self, call: Call) -> None:
        """Do what a call did."""
        failed = call.result < 0
        match call.kind:
            case Kind.SYNC if call.offset == 1:
                for name in [name for name in self.pending if os.path.dirname(name.path) == call.path]:
                    self.pending.remove(name)
                    if not failed:
                        _rename(self.kept, name)
            case Kind.SYNC:
                self._file(call).sync(failed=failed)
            case _ if failed:
                pass
            case Kind.CREATE:
                if call.path not in self.seen:
                    self._name(call.path, File())
                self.open[call.file] = self.seen[call.path]
                if call.offset & os.O_TRUNC:
                    self.open[call.file].pending.append(Change(0, None))
            case Kind.WRITE:
                self._file(call).pending.append(Change(call.offset, call.data))
            case Kind.TRUNCATE:
                assert call.offset >= 0, "fallocate is not modelled"
                self._file(call).pending.append(Change(call.offset, None))
            case Kind.RENAME:
                file = self.seen[call.path]
                self._name(call.path, None)
                self._name(call.other, file)
            case Kind.UNLINK | Kind.RMDIR:
                self._name(call.path, None)
            case Kind.MKDIR:
                self._name(call.path, File(is_folder=True))
            case Kind.NOTE | Kind.MODE | Kind.OPEN:
                pass
            case Kind.LINK:
                self._name(call.other, self.seen[call.path])

    def cut(self, chance: Random, share: float) -> None:
        """Put into the folder, which is empty, what may be left: of what was not synced, about `share` is there."""
        names = dict(self.kept)
        for name in self.pending:
            if chance.random() < share:
                _rename(names, name)
        for path in sorted(names):
            if os.path.dirname(path) != self.root and os.path.dirname(path) not in names:
                del names[path]  # its folder is lost, and so it is
                continue
            if names[path].is_folder:
                Path(path).mkdir()
            elif path.endswith("-shm") and chance.random() < 0.5:
                # Memory that processes share reaches the disk at any time, and no call tells of it.
                Path(path).write_bytes(chance.randbytes(len(names[path].after_cut(chance, 1.0))))
            else:
                Path(path).write_bytes(names[path].after_cut(chance, share))

    def _name(self, path: str, file: File | None) -> None:
        name = Name(path, file)
        self.pending.append(name)
        _rename(self.seen, name)

    def _file(self, call: Call) -> File:
        file = self.seen.get(call.path)
        return file if file is not None else self.open[call.file]


def _rename(names: dict[str, File], name: Name) -> None:
    if name.file is None:
        names.pop(name.path, None)
    else:
        names[name.path] = name.file


def _apply(content: bytearray, change: Change) -> None:
    if change.data is None:
        if len(content) < change.offset:
            content.extend(bytes(change.offset - len(content)))
        del content[change.offset :]
        return
    if len(content) < change.offset:
        content.extend(bytes(change.offset - len(content)))
    content[change.offset : change.offset + len(change.data)] = change.data


def _pieces(change: Change) -> list[Change]:
    if change.data is None:
        return [change]
    pieces, at = [], 0
    while at < len(change.data):
        size = SECTOR_BYTES - (change.offset + at) % SECTOR_BYTES
        pieces.append(Change(change.offset + at, change.data[at : at + size]))
        at += size
    return pieces


def told_finished(calls: list[Call]) -> set[str]:
    """Return the steps of which the user was told that they are done."""
    said = b"".join(call.data for call in calls if call.kind is Kind.NOTE).decode()
    return {line.split()[1] for line in said.splitlines() if line.startswith("✓")}

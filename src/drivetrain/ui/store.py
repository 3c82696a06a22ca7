"""The store: where the room goes, what `gc` would free, and when it was last checked."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import DrivetrainError
from drivetrain.pipeline.leftover import find_leftovers
from drivetrain.security.event import Event
from drivetrain.store.garbage import WHY, find_garbage
from drivetrain.store.record import now
from drivetrain.store.size import size_of

if TYPE_CHECKING:
    from drivetrain.store.size import Size
    from drivetrain.store.store import Store
    from drivetrain.ui.console import Asked, Console

# A visitor waits so long for a count that has just begun, and is shown that it goes on after that.
PATIENCE_S = 0.05
# What was counted is shown for so long, whatever is recorded meanwhile.
STALE_S = 60.0


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What takes room: how many files, of how many bytes, and their share of the largest kind."""

    name: str
    files: int | None
    size_bytes: int
    share: float
    why: str = ""


class Large(msgspec.Struct, frozen=True, kw_only=True):
    """One of the largest artifacts, with a row that mentions it."""

    digest: str
    size_bytes: int
    row: str
    link: str


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted; `trouble` says why it cannot be told what could go."""

    at: datetime
    took_s: float
    size_bytes: int
    artifacts: int
    points: int
    kinds: list[Room]
    largest: list[Large]
    garbage: list[Room]
    trouble: str = ""
    remedy: str = ""


class StorePage(msgspec.Struct, frozen=True, kw_only=True):
    """The page; without a count while the first one goes on."""

    path: str
    count: Count | None
    checked: Event | None


class Survey:
    """Counts in a thread of its own when somebody asks and the last count is old, and remembers what came of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._latest: Count | None = None
        self._counted_at = 0.0

    def latest(self) -> Count | None:
        """Return the last count, or None where there is none yet."""
        with self._lock:
            is_busy = self._thread is not None and self._thread.is_alive()
            if not is_busy and (self._latest is None or time.monotonic() - self._counted_at > STALE_S):
                self._thread = threading.Thread(target=self._count, name="drivetrain-survey", daemon=True)
                self._thread.start()
            thread = self._thread
        if thread is not None and self._latest is None:
            thread.join(PATIENCE_S)
        return self._latest

    def _count(self) -> None:
        self._latest = counted(self._store)
        self._counted_at = time.monotonic()


def store(console: Console, asked: Asked) -> StorePage:
    """Return the page of the store."""
    checked = console.store.ledger.find(Event, {"kind": "store.checked"}, order="-number", limit=1)
    return StorePage(
        path=str(console.store.root), count=console.survey.latest(), checked=checked[0] if checked else None
    )


def counted(store: Store) -> Count:
    """Return how much room the store takes, and what could go."""
    began = time.monotonic()
    trouble, remedy, size = "", "", None
    garbage: list[Room] = []
    try:
        size = size_of(store)
        garbage = _garbage(store)
    except DrivetrainError as error:
        trouble, remedy = error.message, error.remedy
    return Count(
        at=now(),
        took_s=time.monotonic() - began,
        size_bytes=size.artifacts_bytes + size.ledger_bytes + size.other_bytes if size else 0,
        artifacts=size.artifacts if size else 0,
        points=size.rows.get("point", 0) if size else 0,
        kinds=_kinds(size) if size else [],
        largest=[
            Large(digest=digest, size_bytes=size_bytes, row=row, link=_link(row))
            for digest, size_bytes, row in (size.biggest if size else [])
        ],
        garbage=garbage,
        trouble=trouble,
        remedy=remedy,
    )


def _kinds(size: Size) -> list[Room]:
    found: list[tuple[str, int | None, int]] = [
        (share.format, share.artifacts, share.size_bytes) for share in size.formats
    ]
    found += [("ledger", None, size.ledger_bytes), ("logs and other files", None, size.other_bytes)]
    most = max(size_bytes for *_, size_bytes in found) or 1
    return [
        Room(name=name, files=files, size_bytes=size_bytes, share=size_bytes / most)
        for name, files, size_bytes in sorted(found, key=lambda each: -each[2])
    ]


def _garbage(store: Store) -> list[Room]:
    found = find_garbage(store) + find_leftovers(store)
    total = sum(each.size_bytes for each in found) or 1
    rooms = []
    for kind, why in WHY.items():
        sizes = [each.size_bytes for each in found if each.kind == kind]
        if sizes:
            rooms.append(Room(name=kind, files=len(sizes), size_bytes=sum(sizes), share=sum(sizes) / total, why=why))
    return rooms


def _link(row: str) -> str:
    run = next((word.strip(",") for word in row.split() if word.startswith("run-")), "")
    return f"/runs/{run}" if run else ""

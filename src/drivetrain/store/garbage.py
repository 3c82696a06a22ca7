"""Garbage: files and folders of the store that nothing needs any longer, and why."""

from __future__ import annotations

import time
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Literal

import msgspec

from drivetrain.errors import CorruptArtifact, CorruptLedger
from drivetrain.store.fingerprints import digest_of_file
from drivetrain.store.rows import digests_in, rows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from drivetrain.store.store import Store

# Whoever does not share the lock, such as a program of the user's own, has this long to mention what it has kept.
GRACE_S = 86_400.0
_OBJECT = (b"{", b"[", b'"')
# The forms of artifacts that may mention others.
_TELLING = ("json", "collection")

Kind = Literal["artifact", "leftover", "set aside", "log", "handover", "fingerprint", "signature"]
WHY: dict[Kind, str] = {
    "artifact": "no run, version, segment or other row mentions it",
    "leftover": "a process was killed while it wrote it",
    "set aside": "`drivetrain store fsck --repair` found it damaged",
    "log": "its run is gone",
    "handover": "its run has ended",
    "fingerprint": "the file that it knows is gone",
    "signature": "the pickle that it vouches for is gone",
}


class Garbage(msgspec.Struct, frozen=True, kw_only=True):
    """One file or folder that may go."""

    kind: Kind
    path: str
    size_bytes: int


def find_garbage(store: Store, *, older_than_s: float = GRACE_S, without_runs: Collection[str] = ()) -> list[Garbage]:
    """Return what nothing has needed for so long. What is found may be needed again unless the store is held alone.

    `without_runs` are taken to be deleted already.

    Raises:
        CorruptLedger: a row is damaged, so that it cannot be said what it mentions.
        CorruptArtifact: a JSON artifact is.
    """
    needed = needed_digests(store, without_runs=without_runs)
    folder = store.artifacts.root
    found: list[tuple[Kind, Path]] = [
        ("artifact", store.artifacts.place(digest)) for digest in store.artifacts if digest not in needed
    ]
    found += [("leftover", path) for path in sorted((folder / "partial").iterdir())]
    found += [("set aside", path) for path in sorted(store.quarantine.glob("*"))]
    return list(_old(found, time.time() - older_than_s))


def collect(garbage: Iterable[Garbage]) -> int:
    """Remove the files for good and return their size in bytes; the store must be held alone since they were found."""
    size_bytes = 0
    for each in garbage:
        path = Path(each.path)
        if path.is_dir():
            rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        size_bytes += each.size_bytes
    return size_bytes


def bytes_below(path: Path) -> int:
    """Return the size of a file, or of all files in a folder."""
    return sum(each.stat().st_size for each in (path, *path.rglob("*")) if each.is_file())


def needed_digests(store: Store, *, without_runs: Collection[str] = ()) -> set[str]:
    """Return every digest that a row mentions, and those that the JSON artifacts among them mention in turn.

    Raises:
        CorruptLedger: a row is damaged, so that it cannot be said what it mentions.
        CorruptArtifact: a JSON artifact is, such as the list of a mapped step's outputs.
    """
    needed, telling = set[str](), set[str]()
    for row in rows(store.ledger):
        if not row.is_whole:
            key = [str(row.values[name]) for name in row.key]
            raise CorruptLedger(table=row.table, key=key, path=str(store.ledger.path))
        if row.owner() not in without_runs and row.values.get("id") not in without_runs:
            needed |= row.digests()
            telling.update(digest for digest, form in row.forms() if form in _TELLING)
    for digest in telling:
        if store.artifacts.fault(digest) == "damaged":
            path = store.artifacts.place(digest)
            raise CorruptArtifact(digest=digest, found=digest_of_file(path), path=str(path))
    return with_inner(store, needed)


def with_inner(store: Store, digests: Iterable[str]) -> set[str]:
    """Return the digests, and all that are mentioned inside of artifacts that are JSON, however deep."""
    found: set[str] = set()
    waiting = list(digests)
    while waiting:
        digest = waiting.pop()
        if digest in found:
            continue
        found.add(digest)
        path = store.artifacts.place(digest)
        try:
            with open(path, "rb") as file:
                if file.read(1) in _OBJECT:
                    waiting += digests_in(file.read().decode(errors="replace"))
        except FileNotFoundError:
            continue
    return found


def _old(found: Iterable[tuple[Kind, Path]], before: float) -> Iterator[Garbage]:
    for kind, path in found:
        try:
            state = path.stat()
        except FileNotFoundError:  # its owner was faster
            continue
        if state.st_mtime <= before:
            yield Garbage(kind=kind, path=str(path), size_bytes=state.st_size)

"""A check of the whole store: every byte of every artifact, every row, and that what the rows mention is there."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.errors import DrivetrainError, StoreUnavailable
from drivetrain.store.files import is_being_written
from drivetrain.store.fingerprints import digest_of_file
from drivetrain.store.record import now
from drivetrain.store.rows import Row, digests_in, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from drivetrain.store.store import Store

    Progress = Callable[[int, int], None]


class Mention(msgspec.Struct, frozen=True):
    """A row that needs a damaged thing: its table, the values of its key, and the columns that name the thing."""

    table: str
    key: dict[str, Any]
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.table} {', '.join(map(str, self.key.values()))}"


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it was written; `rows` are those that need it, or the damaged row itself."""

    kind: Literal[
        "artifact changed", "artifact missing", "row changed", "curve changed", "ledger unreadable", "chain broken"
    ]
    what: str
    found: str
    rows: list[Mention] = []


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what is wrong; `leftovers` are files that are no artifacts."""

    artifacts: int
    size_bytes: int
    rows: int
    damages: list[Damage]
    leftovers: list[str] = []


def examine(store: Store, *, progress: Progress = lambda done, total: None) -> Examination:
    """Check everything and change nothing. `progress` is told the bytes that are read and all there are."""
    damages = _of_file(store)
    mentioned: dict[str, list[Mention]] = {}
    count = 0
    try:
        for row in rows(store.ledger):
            count += 1
            for digest in row.needs():
                mentioned.setdefault(digest, []).append(_mention(row, digest))
            if not row.is_whole:
                damages.append(
                    Damage(kind="row changed", what=str(row), found="not what its checksum says", rows=[_mention(row)])
                )
    except StoreUnavailable as error:
        if not damages:
            damages.append(Damage(kind="ledger unreadable", what=str(store.ledger.path), found=error.message))
    present = {digest: store.artifacts.place(digest) for digest in store.artifacts if digests_in(digest)}
    sizes = {digest: _size(path) for digest, path in present.items()}
    for digest, found in _wrong(present, sizes, progress):
        damages.append(Damage(kind="artifact changed", what=digest, found=found, rows=mentioned.get(digest, [])))
    damages += [
        Damage(kind="artifact missing", what=digest, found="no file", rows=needed)
        for digest, needed in mentioned.items()
        if digest not in present
    ]
    folder = store.artifacts.root
    known = set(present.values())
    leftovers = [path for path in sorted((folder / "sha256").rglob("*")) if path.is_file() and path not in known]
    leftovers += [path for path in sorted((folder / "partial").iterdir()) if not is_being_written(path)]
    return Examination(
        artifacts=len(present),
        size_bytes=sum(sizes.values()),
        rows=count,
        damages=damages,
        leftovers=[str(path.relative_to(store.root)) for path in leftovers],
    )


def set_aside(store: Store, damages: Iterable[Damage]) -> list[str]:
    """Move what is damaged into the folder `quarantine/`, where nothing reads it, and return what was moved.

    A file is moved as it is, and a row becomes a line of `rows.jsonl`. What was mended meanwhile stays.

    Raises:
        StoreUnavailable: a run is going on.
    """
    store.quarantine.mkdir(exist_ok=True)
    moved = []
    with store.alone():
        for damage in damages:
            if damage.kind == "artifact changed":
                path = store.artifacts.place(damage.what)
                if _found(path) not in (damage.what, ""):
                    store.set_aside(damage.what)
                    moved.append(damage.what)
        if any(damage.kind == "row changed" for damage in damages):
            moved += _rows_aside(store, store.quarantine / "rows.jsonl")
    return moved


def _rows_aside(store: Store, path: Path) -> list[str]:
    damaged = [row for row in rows(store.ledger) if not row.is_whole]
    with open(path, "a", encoding="ascii") as file:
        for row in damaged:
            body = {"table": row.table, "values": row.values, "set_aside_at": now().isoformat()}
            file.write(json.dumps(body, default=repr) + "\n")
        file.flush()
        os.fsync(file.fileno())
    with store.ledger.transaction():
        for row in damaged:
            store.ledger.query(f'DELETE FROM "{row.table}" WHERE rowid = ?', row.number)  # noqa: S608  # as it is there
    return [str(row) for row in damaged]


def _of_file(store: Store) -> list[Damage]:
    """Return what SQLite itself finds wrong with its file."""
    path = str(store.ledger.path)
    try:
        found = [text for (text,) in store.ledger.query("PRAGMA integrity_check(20)") if text != "ok"]
    except DrivetrainError as error:
        found = [error.message]
    return [Damage(kind="ledger unreadable", what=path, found=text) for text in found]


def _mention(row: Row, digest: str = "") -> Mention:
    naming = [name for name, value in row.values.items() if digest and isinstance(value, str) and digest in value]
    return Mention(row.table, {name: row.values[name] for name in row.key}, tuple(naming))


def _wrong(present: dict[str, Path], sizes: dict[str, int], progress: Progress) -> list[tuple[str, str]]:
    """Return each digest whose file has other bytes, and what it has."""
    done, total = 0, sum(sizes.values())
    wrong = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = {pool.submit(_found, path): digest for digest, path in present.items()}
        for future in as_completed(waiting):
            digest = waiting[future]
            found = future.result()
            if found not in (digest, ""):
                wrong.append((digest, found))
            done += sizes[digest]
            progress(done, total)
    return sorted(wrong)


def _found(path: Path) -> str:
    """Return the digest of a file, why it cannot be read, or nothing where it was collected since."""
    try:
        return digest_of_file(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0

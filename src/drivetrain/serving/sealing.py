"""Sealing: finished parts of the log become Parquet artifacts, and leave the folder where workers write."""

from __future__ import annotations

import fcntl
import os
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from drivetrain.registry.version import Version
from drivetrain.serving.journal import folder_of
from drivetrain.serving.lines import labels_of, tables_of
from drivetrain.serving.log import Kind, Segment, part_paths

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.store.artifact import Artifact
    from drivetrain.store.ledger import Ledger
    from drivetrain.store.store import Store


def seal(store: Store, service: str) -> int:
    """Seal every part that no worker writes to any longer, those of dead workers included; return the rows sealed.

    A part's rows are in the ledger before its file goes. Killed in between, the next call finds them there and only
    removes the file: no row is lost or doubled.

    Raises:
        StoreUnavailable: the disk is full or cannot be written; the parts stay as they are.
    """
    rows = 0
    kinds: tuple[Kind, ...] = ("predictions", "feedback")
    for kind in kinds:
        for path in part_paths(folder_of(store, service), kind):
            handle = _taken(path)
            if handle < 0:
                continue
            try:
                if not store.ledger.find(Segment, {"service": service, "source": path.name}, limit=1):
                    with store.sharing():
                        rows += _seal_part(store, service, kind, path)
                path.unlink(missing_ok=True)
            finally:
                os.close(handle)
    return rows


def _taken(path: Path) -> int:
    """Return a handle that holds the part's lock, or -1 where a worker does."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return -1
    if not path.exists():  # another process has sealed it since
        os.close(handle)
        return -1
    return handle


def _seal_part(store: Store, service: str, kind: Kind, path: Path) -> int:
    data = path.read_bytes()
    tables = tables_of(store, path.name, data) if kind == "predictions" else {"": labels_of(path.name, data)}
    kept = {
        version: store.keep(
            table, part=service, detail={"service": service, "log": kind, **_inputs(store, version, table)}
        )
        for version, table in tables.items()
        if len(table)
    }
    if not kept:
        return 0
    ledger = store.ledger
    with ledger.transaction():
        number = last_number(ledger, service)
        segments = []
        for version, artifact in kept.items():
            number += 1
            segments.append(segment_of(service, path.name, version, kind, number, artifact, tables[version]))
        ledger.write(*segments)
    return sum(len(table) for table in tables.values())


def _inputs(store: Store, version: str, table: pl.DataFrame) -> dict[str, list[str]]:
    """Return the digests of the images that were kept with some rows: what a row of the ledger names is not taken."""
    known = store.ledger.get(Version, version) if version else None
    names = [column.name for column in known.signature.request if column.kind == "image"] if known else []
    found = [
        digest
        for name in names
        for text in table["request"].struct.field(name).drop_nulls()
        if (digest := msgspec.json.decode(text).get("digest", "")) and store.artifacts.has(digest)
    ]
    return {"inputs": sorted(set(found))} if found else {}


def last_number(ledger: Ledger, service: str) -> int:
    """Return the number of the newest segment of a service."""
    last = ledger.find(Segment, {"service": service}, order="-number", limit=1)
    return last[0].number if last else 0


def segment_of(
    service: str, source: str, version: str, kind: Kind, number: int, artifact: Artifact, table: pl.DataFrame
) -> Segment:
    """Return the record of a table of the log that has been kept as an artifact."""
    ids = table["id"].drop_nulls()
    times = table["time"].drop_nulls() if "time" in table.columns else pl.Series(dtype=pl.Datetime("us", "UTC"))
    return Segment(
        service=service,
        source=source,
        version=version,
        kind=kind,
        number=number,
        artifact=artifact,
        rows=len(table),
        first_id=str(ids.min() or ""),
        last_id=str(ids.max() or ""),
        first_at=_moment(table["at"].min()),
        last_at=_moment(table["at"].max()),
        first_time=_moment(times.min()) if len(times) else None,
        last_time=_moment(times.max()) if len(times) else None,
    )


def _moment(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value

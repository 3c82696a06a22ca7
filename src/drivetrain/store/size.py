"""How much room the store takes, and for what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from drivetrain.store.rows import counts, digests_in, rows

if TYPE_CHECKING:
    from drivetrain.store.store import Store

BIGGEST = 10


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """The artifacts of one form on the disk, such as parquet."""

    format: str
    artifacts: int
    size_bytes: int


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the store by what they are for; `biggest` are artifacts with a row that mentions each."""

    formats: list[Share]
    biggest: list[tuple[str, int, str]]
    artifacts: int
    artifacts_bytes: int
    ledger_bytes: int
    other_bytes: int
    # How many rows each table has.
    rows: dict[str, int]


def size_of(store: Store) -> Size:
    """Return how much room the store takes."""
    sizes = {digest: _bytes(store.artifacts.place(digest)) for digest in store.artifacts if digests_in(digest)}
    formats: dict[str, str] = {}
    named: dict[str, str] = {}
    for row in rows(store.ledger):
        if row.digests():
            for digest, form in row.forms():
                formats.setdefault(digest, form)
            for digest in row.digests():
                named.setdefault(digest, str(row))
    shares: dict[str, tuple[int, int]] = {}
    for digest, size_bytes in sizes.items():
        form = formats.get(digest, "other" if digest in named else "not needed")
        count, total = shares.get(form, (0, 0))
        shares[form] = count + 1, total + size_bytes
    ledger_bytes = sum(_bytes(path) for path in store.root.glob("ledger.db*"))
    artifacts_bytes = sum(sizes.values())
    all_bytes = sum(_bytes(path) for path in store.root.rglob("*") if path.is_file())
    biggest = sorted(sizes.items(), key=lambda each: -each[1])[:BIGGEST]
    return Size(
        formats=[
            Share(format=form, artifacts=count, size_bytes=total)
            for form, (count, total) in sorted(shares.items(), key=lambda each: -each[1][1])
        ],
        biggest=[(digest, size_bytes, named.get(digest, "")) for digest, size_bytes in biggest],
        artifacts=len(sizes),
        artifacts_bytes=artifacts_bytes,
        ledger_bytes=ledger_bytes,
        other_bytes=max(all_bytes - artifacts_bytes - ledger_bytes, 0),
        rows=dict(sorted(counts(store.ledger).items(), key=lambda each: -each[1])),
    )


def spoken(size_bytes: int) -> str:
    """Return a number of bytes as people say it.

    >>> spoken(999), spoken(2_500_000)
    ('999 B', '2.5 MB')
    """
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0

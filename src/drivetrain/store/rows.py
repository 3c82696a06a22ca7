"""The rows of every table as they lie in the file, whatever nouns they are: for those who look after all of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from drivetrain.store.checksum import COLUMN, checksum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.store.sqlite import SQLiteLedger

_AT_ONCE = 5000
_MADE_OF = "ingredients"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TEXT = re.compile(r'(?<!\\)"((?:[^"\\]|\\.)*)"')


class Row(NamedTuple):
    """A row of any table; `values` are without its sum, and `number` is SQLite's own."""

    table: str
    key: tuple[str, ...]
    values: dict[str, Any]
    is_whole: bool
    number: int

    def __str__(self) -> str:
        return f"{self.table} {', '.join(str(self.values[name]) for name in self.key)}"

    def owner(self) -> str:
        """Return the run that the row belongs to, which is a part of its key; empty where it stands alone."""
        return str(self.values["run"]) if "run" in self.key else ""

    def texts(self) -> set[str]:
        """Return each text that is a value of its own, in a column or inside of JSON; not what stands within others."""
        found = set()
        for value in self.values.values():
            if isinstance(value, str):
                found.add(value)
                if value[:1] in ("{", "[", '"'):
                    found.update(_TEXT.findall(value))
        return found

    def needs(self) -> set[str]:
        """Return the digests that are values of their own: those of artifacts, not those that prose mentions.

        What a step was made of has digests too, also of things that are not kept, such as one item of a list.
        """
        if not self.digests():
            return set()
        kept = {name: value for name, value in self.values.items() if name != _MADE_OF}
        return self.digests() & self._replace(values=kept).texts()

    def forms(self) -> Iterator[tuple[str, str]]:
        """Yield digest and form on the disk of each artifact in a column of JSON."""
        for value in self.values.values():
            if isinstance(value, str) and value[:1] in ("{", "[") and '"digest"' in value:
                yield from _forms(value)

    def digests(self) -> set[str]:
        """Return every digest that occurs anywhere in the row."""
        return digests_in("\n".join(value for value in self.values.values() if isinstance(value, str)))


def digests_in(text: str) -> set[str]:
    """Return every digest in a text.

    >>> len(digests_in("from sha256:" + "a" * 64 + " to sha256:" + "b" * 64))
    2
    """
    return set(_DIGEST.findall(text)) if "sha256:" in text else set()


def tables(ledger: SQLiteLedger) -> dict[str, tuple[str, ...]]:
    """Return the columns that identify a row, for each table."""
    names = ledger.query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
    )
    return {name: _key(ledger, name) for (name,) in names}


def rows(ledger: SQLiteLedger, *names: str) -> Iterator[Row]:
    """Yield the rows of the tables with these names, or of all, in the order of writing.

    A table without row ids comes in the order of its key; one that holds nothing but numbers, such as the points of
    curves, mentions nothing, and is left out.
    """
    for table, key in tables(ledger).items():
        if names and table not in names:
            continue
        if not _has_row_ids(ledger, table):
            yield from _rows_by_key(ledger, table, key)
            continue
        columns = sorted(name for _, name, *_ in _columns(ledger, table) if name != COLUMN)
        has_sum = any(name == COLUMN for _, name, *_ in _columns(ledger, table))
        listed = ", ".join(f'"{name}"' for name in columns)
        # Names come from the database itself.
        select = f'SELECT rowid, {COLUMN if has_sum else "NULL"}, {listed} FROM "{table}" '  # noqa: S608
        last = -1
        while found := ledger.query(f"{select}WHERE rowid > ? ORDER BY rowid LIMIT {_AT_ONCE}", last):
            for number, kept, *values in found:
                is_whole = kept is None or kept == checksum(columns, values)
                yield Row(table, key, dict(zip(columns, values, strict=True)), is_whole, number)
            last = found[-1][0]


def counts(ledger: SQLiteLedger) -> dict[str, int]:
    """Return how many rows each table has."""
    # Names come from the database itself.
    return {name: ledger.query(f'SELECT count(*) FROM "{name}"')[0][0] for name in tables(ledger)}  # noqa: S608


def _forms(text: str) -> Iterator[tuple[str, str]]:
    try:
        waiting = [json.loads(text)]
    except ValueError:  # a damaged row, which is fsck's to tell
        return
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("digest"), str) and isinstance(item.get("format"), str):
                yield item["digest"], item["format"]
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _rows_by_key(ledger: SQLiteLedger, table: str, key: tuple[str, ...]) -> Iterator[Row]:
    kinds = {name: kind.upper() for _, name, kind, *_ in _columns(ledger, table)}
    if set(kinds.values()) <= {"INTEGER", "REAL"}:
        return
    columns = sorted(kinds)
    listed, keys = (", ".join(f'"{name}"' for name in names) for names in (columns, key))
    select, places = f'SELECT {listed} FROM "{table}"', ", ".join("?" * len(key))  # noqa: S608  # from the database
    found = ledger.query(f"{select} ORDER BY {keys} LIMIT {_AT_ONCE}")
    while found:
        for values in found:
            yield Row(table, key, dict(zip(columns, values, strict=True)), is_whole=True, number=0)
        last = dict(zip(columns, found[-1], strict=True))
        after = [last[name] for name in key]
        found = ledger.query(f"{select} WHERE ({keys}) > ({places}) ORDER BY {keys} LIMIT {_AT_ONCE}", *after)


def _has_row_ids(ledger: SQLiteLedger, table: str) -> bool:
    ((text,),) = ledger.query("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", table)
    return "WITHOUT ROWID" not in text.upper()


def _columns(ledger: SQLiteLedger, table: str) -> list[tuple[Any, ...]]:
    return ledger.query(f'PRAGMA table_info("{table}")')


def _key(ledger: SQLiteLedger, table: str) -> tuple[str, ...]:
    places = [(place, name) for _, name, *_, place in _columns(ledger, table) if place]
    return tuple(name for _, name in sorted(places))

"""How one kind of record lies in the database: derived from its class, never written by hand."""

from __future__ import annotations

import types
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from drivetrain.errors import CorruptLedger
from drivetrain.store import exact
from drivetrain.store.checksum import COLUMN, checksum
from drivetrain.store.record import utc

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from drivetrain.store.record import Record

_COLUMN_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL", bool: "INTEGER", datetime: "TEXT"}


class Table:
    """The table of a kind of record; `known` are the columns that the database has by now, where it has the table."""

    def __init__(self, kind: type[Record], known: Collection[str] = ()) -> None:
        self.kind, self.name, self.key = kind, kind.TABLE, kind.KEY
        self.is_indexed = False
        declared = _declared(kind)
        # The checksum is a column like any other, that no record has.
        self.columns = {
            field: f'"{field}" {_COLUMN_TYPES[plain] if plain else "JSON"}' for field, plain in declared.items()
        } | {COLUMN: f'"{COLUMN}" INTEGER'}
        self.fields = sorted(declared)
        self._typed = [(field, declared[field]) for field in self.fields]
        # Columns that a later version has added are read for the sake of the sum.
        self.names = sorted({*self.fields, *known} - {COLUMN})
        self._read = [(name, name in declared and declared[name] is None) for name in self.names]
        self._key_places = [self.names.index(field) for field in self.key]
        self._unknown = [name for name in self.names if name not in declared]
        written = ", ".join(f'"{field}"' for field in [*self.fields, COLUMN])
        read = ", ".join(f'"{name}"' for name in [*self.names, COLUMN])
        places = ", ".join("?" * (len(self.fields) + 1))
        # Names come from our own classes; values are always bound.
        self.insert = f'INSERT OR REPLACE INTO "{self.name}" ({written}) VALUES ({places})'  # noqa: S608
        self.select = f'SELECT {read} FROM "{self.name}"'  # noqa: S608
        keys = " AND ".join(f'"{field}" IS ?' for field in self.key)
        self.delete = f'DELETE FROM "{self.name}" WHERE {keys}'  # noqa: S608

    def row(self, record: Record) -> list[Any]:
        """Return the values of a record in the order of `fields`, and their sum."""
        values: list[Any] = []
        is_sure = True
        for field, plain in self._typed:
            value = getattr(record, field)
            kind = type(value)
            if value is None or (kind is plain and (kind is str or kind is int)):
                pass
            elif plain is None:
                value = exact.encode_in_order(value).decode()
                # SQLite makes a number of such a text.
                is_sure &= value[0] not in "-0123456789"
            elif plain is datetime:
                value = as_text(value)
            elif value != value:
                value = "NaN"  # SQLite takes NaN for NULL; as text it comes back
            elif plain is float and isinstance(value, (int, float)):
                value = float(value) + 0.0  # SQLite has no negative zero
            elif kind is bool and plain is not str:
                value = int(value)
            else:
                # What has another type than its annotation says may come back changed.
                is_sure = False
            values.append(value)
        values.append(checksum(self.fields, values) if is_sure else None)
        return values

    def record(self, row: Sequence[Any]) -> Any:
        """Return the record of a row in the order of `names`; the sum may follow."""
        body = {}
        for (name, is_json), value in zip(self._read, row):  # noqa: B905  # the sum may follow
            if value is not None:
                body[name] = exact.decode(value) if is_json else value
        for name in self._unknown:
            body.pop(name, None)
        return msgspec.convert(body, self.kind, strict=False, str_keys=True)

    def damaged(self, rows: Sequence[Sequence[Any]]) -> Sequence[Any] | None:
        """Return the first row that is not what was written; an older version gave no sum, but a key."""
        for row in rows:
            if row[-1] is None:
                if any(row[place] is None for place in self._key_places):
                    return row
            elif row[-1] != checksum(self.names, row):
                return row
        return None

    def corrupt(self, row: Sequence[Any], path: str) -> CorruptLedger:
        """Return the error that names a damaged row."""
        body = dict(zip(self.names, row))  # noqa: B905  # the sum follows
        return CorruptLedger(table=self.name, key=[str(body[field]) for field in self.key], path=path)


def as_text(moment: datetime) -> str:
    """Return a moment as text in UTC, whose alphabetical order is the order in time."""
    return utc(moment).isoformat(timespec="microseconds")


@lru_cache
def _declared(kind: type[Record]) -> dict[str, type | None]:
    """Return the fields of a kind of record, each with the type of its column; None for JSON."""
    hints = get_type_hints(kind)
    return {field.name: _plain_type(hints[field.name]) for field in msgspec.structs.fields(kind)}


def _plain_type(hint: Any) -> type | None:
    """Return the column type of a field's annotation, or None when it is kept as JSON."""
    if get_origin(hint) in (Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not types.NoneType]
        hint = options[0] if len(options) == 1 else None
    if get_origin(hint) is not None and all(isinstance(value, str) for value in get_args(hint)):
        return str  # Literal["live", "shadow"]
    return hint if hint in _COLUMN_TYPES else None

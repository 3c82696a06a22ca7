"""The ledger in one SQLite file: the default, with nothing to install."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
import types
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from drivetrain.errors import StoreUnavailable
from drivetrain.store import exact
from drivetrain.store.folder import make_folders, sync_folder
from drivetrain.store.record import Record, utc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

R = TypeVar("R", bound=Record)

# How long a writer waits for another process's transaction; those last milliseconds.
BUSY_S = 60.0
_CONDITION = re.compile(r"^(\w+)(?: (=|!=|<|<=|>|>=))?$")
_OPERATORS = {None: "IS", "=": "IS", "!=": "IS NOT"}
_COLUMN_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL", bool: "INTEGER", datetime: "TEXT"}


class _Table:
    """How one kind of record lies in the database; derived from its class, never written by hand."""

    def __init__(self, kind: type[Record]) -> None:
        self.kind, self.name, self.key = kind, kind.TABLE, kind.KEY
        self.is_indexed = False
        self.plain: dict[str, type] = {}
        columns = []
        hints = get_type_hints(kind)
        self.fields = [field.name for field in msgspec.structs.fields(kind)]
        for field in self.fields:
            plain = _plain_type(hints[field])
            if plain is not None:
                self.plain[field] = plain
            columns.append(f'"{field}" {_COLUMN_TYPES[plain] if plain else "JSON"}')
        self.columns = columns
        names = ", ".join(f'"{field}"' for field in self.fields)
        # Names come from our own classes; values are always bound.
        places = ", ".join("?" * len(self.fields))
        self.insert = f'INSERT OR REPLACE INTO "{self.name}" ({names}) VALUES ({places})'  # noqa: S608
        self.select = f'SELECT {names} FROM "{self.name}"'  # noqa: S608
        self.is_simple = [field in self.plain and self.plain[field] is not datetime for field in self.fields]

    def row(self, record: Record) -> list[Any]:
        values: list[Any] = []
        for field, simple in zip(self.fields, self.is_simple, strict=True):
            value = getattr(record, field)
            if simple or value is None:
                # SQLite takes NaN for NULL; as text it comes back.
                values.append("NaN" if value != value else value)
            elif field in self.plain:
                values.append(as_text(value))
            else:
                values.append(exact.encode(value).decode())
        return values

    def record(self, row: tuple[Any, ...]) -> Any:
        body = {}
        for field, value in zip(self.fields, row, strict=True):
            if value is None:
                continue
            body[field] = value if field in self.plain else exact.decode(value)
        return msgspec.convert(body, self.kind, strict=False, str_keys=True)


class SQLiteLedger:
    """Keeps records in one file in WAL mode: any number of readers beside one writer, across processes.

    Every commit reaches the disk before `write` returns. Tables and columns appear when they are first needed, so an
    older file is read and grown by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._tables: dict[type[Record], _Table] = {}
        self._own_commits = 0
        self._is_safe = False
        self._connect()

    def write(self, *records: Record) -> None:
        with self.transaction(), self._translated():
            for kind in dict.fromkeys(type(record) for record in records):
                table = self._table(kind, create=True)
                assert table is not None
                rows = [table.row(record) for record in records if type(record) is kind]
                self._db.executemany(table.insert, rows)

    def get(self, kind: type[R], *key: Any) -> R | None:
        found = self.find(kind, dict(zip(kind.KEY, key, strict=True)), limit=1)
        return found[0] if found else None

    def find(
        self, kind: type[R], where: Mapping[str, Any] | None = None, *, order: str = "", limit: int | None = None
    ) -> list[R]:
        with self._lock:
            table = self._table(kind, create=False)
            if table is None:
                return []
            conditions, values = [], []
            for condition, value in (where or {}).items():
                match = _CONDITION.match(condition)
                if match is None or match[1] not in table.fields:
                    raise ValueError(f"{condition!r} is not a field of {table.name}, or has an unknown operator")
                # `IS` is `=` that counts None as a value like any other.
                operator = _OPERATORS.get(match[2], match[2])
                conditions.append(f'"{match[1]}" {operator} ?')
                values.append(as_text(value) if isinstance(value, datetime) else value)
            sql = table.select + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
            field, direction = order.removeprefix("-"), "DESC" if order.startswith("-") else "ASC"
            if field and field not in table.fields:
                raise ValueError(f"{field!r} is not a field of {table.name}")
            sql += f' ORDER BY "{field}" {direction}, rowid {direction}' if field else f" ORDER BY rowid {direction}"
            if limit is not None:
                sql += f" LIMIT {int(limit)}"
            with self._translated():
                rows = self._db.execute(sql, values).fetchall()
        return [table.record(row) for row in rows]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            level = self._depth
            commit = f"RELEASE level_{level}" if level else "COMMIT"
            undo = (f"ROLLBACK TO level_{level}", commit) if level else ("ROLLBACK",)
            with self._translated():
                if level:
                    self._db.execute(f"SAVEPOINT level_{level}")
                else:
                    self._begin()
            self._depth += 1
            try:
                yield
                with self._translated():
                    self._db.execute(commit)
            except BaseException:
                self._tables.clear()
                # A full disk has ended the transaction already.
                if self._db.in_transaction:
                    for statement in undo:
                        self._db.execute(statement)
                raise
            finally:
                self._depth -= 1
            if level == 0:
                self._own_commits += 1

    def generation(self) -> int:
        with self._lock, self._translated():
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
        return int(version) + self._own_commits

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _table(self, kind: type[Record], *, create: bool) -> _Table | None:
        table = self._tables.get(kind)
        if table is not None and (table.is_indexed or not create):
            return table
        table = _Table(kind)
        with self._translated():
            known = {row[1] for row in self._db.execute(f'PRAGMA table_info("{table.name}")')}
            missing = [column for field, column in zip(table.fields, table.columns, strict=True) if field not in known]
            if missing and not create:
                if not known:
                    return None
                with self.transaction():  # an older file that lacks a column: grow it before reading
                    return self._table(kind, create=True)
            if not known:
                key = ", ".join(f'"{field}"' for field in table.key)
                columns = ", ".join(table.columns)
                self._db.execute(f'CREATE TABLE IF NOT EXISTS "{table.name}" ({columns}, PRIMARY KEY ({key}))')
            else:
                for column in missing:
                    self._db.execute(f'ALTER TABLE "{table.name}" ADD COLUMN {column}')
            if create:
                for fields in kind.INDEXES:
                    name = f"{table.name}_{'_'.join(fields)}"
                    listed = ", ".join(f'"{field}"' for field in fields)
                    self._db.execute(f'CREATE INDEX IF NOT EXISTS "{name}" ON "{table.name}" ({listed})')
                table.is_indexed = True
        self._tables[kind] = table
        return table

    def _connect(self) -> None:
        try:
            if not self.path.exists():
                self._make()
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._enter_wal()
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA cell_size_check = ON")
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            raise StoreUnavailable(
                f"the ledger {self.path} cannot be opened: {error}",
                remedy="if the file is damaged, put back a copy of it; if it is not Drivetrain's, name another folder",
            ) from error

    def _make(self) -> None:
        """Make an empty ledger whose name is on the disk.

        SQLite does not look whether a sync of the folder succeeds, and the journal by which it makes a file would undo
        everything if it came back after a power cut. So the file is whole before it gets its name.
        """
        make_folders(self.path.parent)
        scratch = self.path.with_name(f"{self.path.name}-new-{os.urandom(4).hex()}")
        try:
            with closing(sqlite3.connect(scratch, isolation_level=None)) as new:
                new.execute("PRAGMA journal_mode = WAL")
            size_bytes = scratch.stat().st_size
            os.link(scratch, self.path)
            try:
                sync_folder(self.path.parent)
            except OSError:
                # A second sync may succeed without having written the name, but not that of a new file.
                if self.path.stat().st_size == size_bytes:
                    self.path.unlink()
                raise
        except FileExistsError:
            pass  # another process was faster
        finally:
            for leftover in self.path.parent.glob(f"{scratch.name}*"):
                leftover.unlink(missing_ok=True)

    def _begin(self) -> None:
        """Begin a transaction whose commit, if it succeeds, is on the disk for certain.

        A process before this one may have failed to sync its log, and died: its last pages can be read, and are not on
        the disk, and no later sync puts them there. So what it left goes into the database itself before anything is
        written behind it. SQLite makes a log when the first transaction begins, and its name has to be on the disk too.
        """
        if self._is_safe:
            self._db.execute("BEGIN IMMEDIATE")
            return
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            sync_folder(self.path.parent)
        except OSError as error:
            self._db.close()  # takes the log away, so that the next one has a new name
            self._connect()
            raise StoreUnavailable(
                f"the ledger {self.path} cannot be written: {error.strerror}",
                remedy="mend the disk or the folder's permissions, then do it again; what was committed is kept",
            ) from error
        self._is_safe = True

    def _enter_wal(self) -> None:
        # Of several processes that open a new file at once, one makes it a WAL; SQLite does not let the others wait.
        patience = time.monotonic() + BUSY_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                    raise
                time.sleep(0.01)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a value that SQLite does not know: a mistake in a record, not the file's
        # What SQLite says of a damaged schema may hold bytes that are no text.
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise StoreUnavailable(
                f"the ledger {self.path} cannot be used: {error}",
                remedy="free some space, or mend the file or its permissions; what was committed is kept",
            ) from error


def as_text(moment: datetime) -> str:
    """Return a moment as text in UTC, whose alphabetical order is the order in time."""
    return utc(moment).isoformat(timespec="microseconds")


def _plain_type(hint: Any) -> type | None:
    """Return the column type of a field's annotation, or None when it is kept as JSON."""
    if get_origin(hint) in (Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not types.NoneType]
        hint = options[0] if len(options) == 1 else None
    if get_origin(hint) is not None and all(isinstance(value, str) for value in get_args(hint)):
        return str  # Literal["live", "shadow"]
    return hint if hint in _COLUMN_TYPES else None

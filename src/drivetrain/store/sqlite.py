"""The ledger in one SQLite file: the default, with nothing to install."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
import weakref
from contextlib import closing, contextmanager, nullcontext, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from drivetrain.errors import StoreUnavailable
from drivetrain.store.folder import make_folders, sync_folder
from drivetrain.store.record import Record
from drivetrain.store.table import Table, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

R = TypeVar("R", bound=Record)

# How long a writer waits for another process's transaction; those last milliseconds.
BUSY_S = 60.0
_CONDITION = re.compile(r"^(\w+)(?: (=|!=|<|<=|>|>=|in))?$")
_OPERATORS = {None: "IS", "=": "IS", "!=": "IS NOT"}


class SQLiteLedger:
    """Keeps records in one file in WAL mode: any number of readers beside one writer, across processes.

    Every commit reaches the disk before `write` returns, unless it is not to be `durable`, or the transaction around it
    says otherwise. Tables and columns appear when they are first needed, so an older file is read and grown by a newer
    version.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._tables: dict[type[Record], Table] = {}
        self._own_commits = 0
        self._durable = durable
        # Nothing has to be made sure of where nothing waits for the disk.
        self._is_safe = not durable
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
                if match[2] == "in":
                    conditions.append(f'"{match[1]}" IN ({", ".join("?" * len(value))})')
                    values += [as_text(each) if isinstance(each, datetime) else each for each in value]
                    continue
                # `IS` is `=` that counts None as a value like any other.
                operator = _OPERATORS.get(match[2], match[2])
                conditions.append(f'"{match[1]}" {operator} ?')
                values.append(as_text(value) if isinstance(value, datetime) else value)
            sql = f" WHERE {' AND '.join(conditions)}" if conditions else ""
            field, direction = order.removeprefix("-"), "DESC" if order.startswith("-") else "ASC"
            if field and field not in table.fields:
                raise ValueError(f"{field!r} is not a field of {table.name}")
            sql += f' ORDER BY "{field}" {direction}, rowid {direction}' if field else f" ORDER BY rowid {direction}"
            if limit is not None:
                sql += f" LIMIT {int(limit)}"
            rows = self.query(table.select + sql, *values)
            if table.damaged(rows):
                # Another process may have added a column since; it counts in the sums of newer rows.
                del self._tables[kind]
                table = self._table(kind, create=False)
                assert table is not None
                rows = self.query(table.select + sql, *values)
                damaged = table.damaged(rows)
                if damaged is not None:
                    raise table.corrupt(damaged, str(self.path))
        found: list[R] = []
        for row in rows:
            try:
                found.append(table.record(row))
            except (msgspec.MsgspecError, ValueError) as error:
                if row[-1] is not None:  # as it was written, by another version
                    raise
                raise table.corrupt(row, str(self.path)) from error
        return found

    def delete(self, kind: type[Record], *key: Any) -> None:
        with self.transaction(), self._translated():
            table = self._table(kind, create=False)
            if table is not None:
                self._db.execute(table.delete, key)

    def prepare(self, *kinds: type[Record]) -> None:
        with self._lock:
            for kind in kinds:
                self._table(kind, create=True)

    def select(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._translated():
            return self._db.execute(sql, values).fetchall()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        with self._lock, self._translated():
            self._db.execute(sql, values)

    @contextmanager
    def transaction(self, *, is_durable: bool = True) -> Iterator[None]:
        with self._lock, nullcontext() if is_durable or self._depth or not self._durable else self._without_waiting():
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

    @contextmanager
    def _without_waiting(self) -> Iterator[None]:
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            with suppress(sqlite3.ProgrammingError):  # it is closed where it could not be opened again
                self._db.execute("PRAGMA synchronous = FULL")

    def generation(self) -> int:
        with self._lock, self._translated():
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
        return int(version) + self._own_commits

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _table(self, kind: type[Record], *, create: bool) -> Table | None:
        table = self._tables.get(kind)
        if table is not None and (table.is_indexed or not create):
            return table
        with self._translated():
            known = {row[1] for row in self._db.execute(f'PRAGMA table_info("{kind.TABLE}")')}
            table = Table(kind, known)
            missing = [column for field, column in table.columns.items() if field not in known]
            if missing and not create:
                if not known:
                    return None
                with self.transaction():  # an older file that lacks a column: grow it before reading
                    return self._table(kind, create=True)
            if not known:
                key = ", ".join(f'"{field}"' for field in table.key)
                columns = ", ".join(table.columns.values())
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
            if not self._durable:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self.path.exists():
                self._make()
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            # Many a ledger is only let go of: it closes with its last holder, and not when Python comes across it.
            # At the end of the process a thread may still be in the middle of a question, and SQLite would crash it.
            weakref.finalize(self, self._db.close).atexit = False
            self._enter_wal()
            self._db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
            self._db.execute("PRAGMA cell_size_check = ON")
            # What undoes an inner transaction would else go through a file of its own above 64 KB.
            self._db.execute("PRAGMA temp_store = MEMORY")
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

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a statement of SQL gives; text that a disk has made unreadable comes with surrogates."""
        with self._lock, self._translated():
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
            # So its row can be named.
            self._db.text_factory = lambda data: data.decode(errors="surrogateescape")
            try:
                return self._db.execute(sql, values).fetchall()
            finally:
                self._db.text_factory = str

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

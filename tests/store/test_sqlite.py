import errno
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from drivetrain.errors import StoreUnavailable
from drivetrain.store.record import Record
from drivetrain.store.sqlite import SQLiteLedger

WRITER = """
import sys
from pathlib import Path
from typing import ClassVar
from drivetrain.store.record import Record
from drivetrain.store.sqlite import SQLiteLedger

class Point(Record, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "point"
    KEY: ClassVar[tuple[str, ...]] = ("writer", "number")
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("writer",),)
    writer: str
    number: int
    total: int

ledger = SQLiteLedger(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    with ledger.transaction():
        # Each reads the others' writes and adds one: a lost update would show in the last total.
        last = ledger.find(Point, order="-total", limit=1)
        ledger.write(Point(writer=sys.argv[2], number=number, total=last[0].total + 1 if last else 1))
    print(number, flush=True)
"""


class Point(Record, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "point"
    KEY: ClassVar[tuple[str, ...]] = ("writer", "number")
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("writer",),)

    writer: str
    number: int
    total: int


class PointLater(Point, frozen=True, kw_only=True):
    """The same table, as a later version looks it up."""

    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("total",),)


def start(path: Path, writer: str, count: int) -> subprocess.Popen[str]:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{WRITER}"
    # Without `site` a child starts in a fraction of the time.
    command = [sys.executable, "-S", "-c", program, str(path), writer, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_write_at_once_without_being_locked_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    writers = [start(path, name, 200) for name in "ab"]

    printed = [writer.communicate(timeout=60)[0].split() for writer in writers]

    assert [writer.returncode for writer in writers] == [0, 0]
    assert [len(numbers) for numbers in printed] == [200, 200]
    assert sorted(point.total for point in SQLiteLedger(path).find(Point)) == list(range(1, 401))


@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_open_a_new_ledger_at_the_same_moment_all_get_it(tmp_path: Path, attempt: int) -> None:
    writers = [start(tmp_path / "ledger.db", str(number), 1) for number in range(8)]

    for writer in writers:
        writer.communicate(timeout=60)

    assert [writer.returncode for writer in writers] == [0] * 8


def test_killed_at_any_moment_it_has_all_that_it_acknowledged(tmp_path: Path) -> None:
    chance, path = random.Random(0), tmp_path / "ledger.db"
    acknowledged: set[tuple[str, int]] = set()
    for kill in range(20):
        writer = start(path, f"writer {kill}", 100_000)
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        time.sleep(chance.random() * 0.03)
        writer.send_signal(signal.SIGKILL)
        lines += writer.communicate(timeout=60)[0].splitlines(keepends=True)
        acknowledged |= {(f"writer {kill}", int(line)) for line in lines if line.endswith("\n")}

    points = SQLiteLedger(path).find(Point)

    assert len(acknowledged) >= 20
    assert acknowledged <= {(point.writer, point.number) for point in points}
    assert [point.total for point in points] == list(range(1, len(points) + 1))


def test_a_ledger_whose_name_may_be_lost_is_not_written_and_the_next_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("drivetrain.store.sqlite.sync_folder", broken)
        with pytest.raises(StoreUnavailable, match="Input/output error"):
            SQLiteLedger(tmp_path / "ledger.db")
    assert list(tmp_path.iterdir()) == []
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    with monkeypatch.context() as patch:
        patch.setattr("drivetrain.store.sqlite.sync_folder", broken)
        with pytest.raises(StoreUnavailable, match="Input/output error"):
            ledger.write(Point(writer="a", number=1, total=1))

    ledger.write(Point(writer="a", number=2, total=2))

    assert [point.number for point in ledger.find(Point)] == [2]


@pytest.mark.parametrize("content", [b"this is no database " * 60, b"SQLite format 3\x00" + b"\xff" * 4_000])
def test_a_file_that_is_no_ledger_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)

    with pytest.raises(StoreUnavailable, match=str(path)):
        SQLiteLedger(path).find(Point)


def test_a_ledger_that_is_damaged_inside_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = SQLiteLedger(path)
    ledger.write(*(Point(writer="w" * 50, number=number, total=number) for number in range(2_000)))
    ledger.close()
    data = bytearray(path.read_bytes())
    data[8_192:] = b"\xa5" * (len(data) - 8_192)
    path.write_bytes(data)

    with pytest.raises(StoreUnavailable, match=str(path)):
        SQLiteLedger(path).find(Point)


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()

    with pytest.raises(StoreUnavailable, match=str(tmp_path / "ledger.db")):
        SQLiteLedger(tmp_path / "ledger.db")


def test_a_full_disk_is_told_and_loses_nothing_that_was_committed(small_disk: Path) -> None:
    ledger = SQLiteLedger(small_disk / "ledger.db")
    ledger.write(Point(writer="before", number=0, total=0))
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * 2_000_000)

    with pytest.raises(StoreUnavailable, match=r"ledger\.db"):
        ledger.write(*(Point(writer="w" * 500, number=number, total=number) for number in range(1_000)))

    assert [point.writer for point in ledger.find(Point)] == ["before"]
    filler.unlink()
    ledger.write(Point(writer="after", number=0, total=0))
    assert [point.writer for point in SQLiteLedger(ledger.path).find(Point)] == ["before", "after"]


def test_a_file_that_grew_too_old_for_its_indexes_gets_them_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    SQLiteLedger(path).write(Point(writer="a", number=1, total=1))
    ledger = SQLiteLedger(path)

    ledger.find(PointLater)
    ledger.write(PointLater(writer="a", number=2, total=2))

    with closing(sqlite3.connect(path)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert {"point_writer", "point_total"} <= names


def test_a_lookup_by_an_indexed_field_uses_its_index(tmp_path: Path) -> None:
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    ledger.write(Point(writer="a", number=1, total=1))

    with closing(sqlite3.connect(ledger.path)) as db:
        (plan,) = db.execute("EXPLAIN QUERY PLAN SELECT * FROM point WHERE writer IS ?", ["a"])

    assert "USING INDEX" in plan[3]


def test_a_value_that_sqlite_does_not_know_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    ledger = SQLiteLedger(tmp_path / "ledger.db")

    with pytest.raises(sqlite3.ProgrammingError):
        ledger.write(Point(writer="a", number=[], total=1))  # type: ignore[arg-type]  # the mistake
    ledger.write(Point(writer="a", number=1, total=1))


def test_a_transaction_that_need_not_last_is_seen_at_once_and_the_next_waits_for_the_disk(tmp_path: Path) -> None:
    ledger, other = SQLiteLedger(tmp_path / "ledger.db"), SQLiteLedger(tmp_path / "ledger.db")
    ledger.write(Point(writer="a", number=0, total=0))
    with ledger.transaction(is_durable=False):
        ledger.write(Point(writer="a", number=1, total=1))
        assert ledger.select("PRAGMA synchronous") == [(1,)]
    assert len(other.find(Point)) == 2
    with pytest.raises(ZeroDivisionError), ledger.transaction(is_durable=False):
        _ = 1 // 0
    with ledger.transaction(), ledger.transaction(is_durable=False):
        assert ledger.select("PRAGMA synchronous") == [(2,)], "it is a part of one that lasts"
    assert ledger.select("PRAGMA synchronous") == [(2,)]

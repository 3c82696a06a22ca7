"""A row's checksum: no change of the disk passes, and nothing that was written is called damaged."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.errors import CorruptLedger, DrivetrainError, StoreUnavailable
from drivetrain.store.record import Record
from drivetrain.store.sqlite import SQLiteLedger


class Reading(Record, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "reading"
    KEY: ClassVar[tuple[str, ...]] = ("place", "number")

    place: str
    number: int
    value: float = 0.0
    good: bool = True
    notes: dict[str, Any] = {}
    anything: Any = None


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteLedger]:
    ledger = SQLiteLedger(tmp_path_factory.mktemp("ledger") / "ledger.db")
    yield ledger
    ledger.close()


def by_hand(ledger: SQLiteLedger, sql: str, *values: Any) -> None:
    with sqlite3.connect(ledger.path) as connection:
        connection.execute(sql, values)
    connection.close()


# What an annotation does not allow, Python does: such values may come back in another form.
ODD = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=9)


@settings(max_examples=200, deadline=None)
@given(place=ODD, number=ODD, value=ODD, good=ODD, notes=st.dictionaries(st.text("aé", max_size=3), ODD))
def test_whatever_was_written_is_read_without_complaint(
    ledger: SQLiteLedger, place: Any, number: Any, value: Any, good: Any, notes: dict[str, Any]
) -> None:
    ledger.write(Reading(place="before", number=0))
    ledger.write(Reading(place=place, number=number, value=value, good=good, notes=notes))

    try:
        ledger.find(Reading)
    except CorruptLedger as error:
        if not isinstance(error.__cause__, msgspec.MsgspecError | ValueError):
            raise
        # A value that does not fit its annotation may not become a record again; no sum complains of it.
    except (msgspec.MsgspecError, ValueError):
        pass  # the same, where the row has its sum
    finally:
        by_hand(ledger, "DELETE FROM reading")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_changed_value_passes(ledger: SQLiteLedger, data: st.DataObject) -> None:
    given_row = {"place": "Kyōto", "number": 7, "value": 0.5, "good": 1, "notes": '{"a":1}', "anything": '"x"'}
    ledger.write(Reading(place="Kyōto", number=7, value=0.5, notes={"a": 1}, anything="x"))
    column = data.draw(st.sampled_from([*given_row]))
    changed = data.draw((st.none() | ODD | st.binary(max_size=9)).filter(lambda value: value != given_row[column]))

    by_hand(ledger, f"UPDATE reading SET {column} = ? WHERE place = 'Kyōto'", changed)
    (now,) = sqlite3.connect(ledger.path).execute(f"SELECT {column} FROM reading").fetchone()

    try:
        if now != given_row[column]:
            with pytest.raises(CorruptLedger) as caught:
                ledger.find(Reading)
            assert caught.value.table == "reading"
    finally:
        by_hand(ledger, "DELETE FROM reading")


def test_the_row_and_what_to_do_are_named(tmp_path: Path) -> None:
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    ledger.write(Reading(place="Oslo", number=1), Reading(place="Oslo", number=2))
    by_hand(ledger, "UPDATE reading SET value = 9.5 WHERE number = 2")

    assert ledger.get(Reading, "Oslo", 1) is not None
    with pytest.raises(CorruptLedger, match=r"row Oslo, 2 of the table reading") as caught:
        ledger.get(Reading, "Oslo", 2)
    assert caught.value.key == ("Oslo", "2")
    assert "fsck" in caught.value.remedy


def test_text_that_is_no_longer_unicode_is_named_too(tmp_path: Path) -> None:
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    ledger.write(Reading(place="Oslo", number=1, notes={"a": "text"}))
    by_hand(ledger, "UPDATE reading SET notes = CAST(x'7bff7d' AS TEXT)")

    with pytest.raises(CorruptLedger, match="Oslo, 1"):
        ledger.find(Reading)


def test_a_flipped_bit_in_the_file_never_gives_another_value(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    written = [Reading(place=f"place {number}", number=number, value=number / 7) for number in range(40)]
    ledger = SQLiteLedger(path)
    ledger.write(*written)
    ledger.close()
    data = path.read_bytes()
    start = data.index(b"place 39") - 20
    seen = {"damaged": 0, "unharmed": 0}
    for place in range(start, start + 400):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        ledger = SQLiteLedger(path)
        try:
            assert ledger.find(Reading) == written
            seen["unharmed"] += 1
        except (CorruptLedger, StoreUnavailable):
            seen["damaged"] += 1
        finally:
            ledger.close()

    assert seen["damaged"] > 300


def test_a_row_that_has_lost_its_sum_and_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    ledger.write(Reading(place="Oslo", number=1, notes={"a": 1}))
    by_hand(ledger, "UPDATE reading SET \"_sum\" = NULL, notes = '2cde'")

    with pytest.raises(CorruptLedger, match="Oslo, 1"):
        ledger.find(Reading)


def test_a_store_of_an_older_version_has_no_sums_until_its_rows_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as older:
        older.execute("CREATE TABLE reading (place TEXT, number INTEGER, value REAL, PRIMARY KEY (place, number))")
        older.execute("INSERT INTO reading VALUES ('Oslo', 1, 0.5)")
    older.close()
    ledger = SQLiteLedger(path)

    assert ledger.find(Reading) == [Reading(place="Oslo", number=1, value=0.5)]
    by_hand(ledger, "UPDATE reading SET value = 0.75")
    assert ledger.find(Reading)[0].value == 0.75
    ledger.write(Reading(place="Oslo", number=1, value=0.5))
    by_hand(ledger, "UPDATE reading SET value = 0.75")
    with pytest.raises(DrivetrainError, match="damaged"):
        ledger.find(Reading)

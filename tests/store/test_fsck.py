"""Every damage is found, named, and nothing that is sound is called damaged."""

from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.store.digest import digest_of
from drivetrain.store.fsck import examine, set_aside
from drivetrain.store.record import Record
from drivetrain.store.store import Store


class Kept(Record, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "kept"

    id: str
    digest: str = ""
    remark: str = ""


def spoil(path: Path, place: int = 0) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=400), place=st.integers(0, 399), bit=st.integers(0, 7))
def test_any_flipped_bit_of_an_artifact_is_found(one_store: Store, data: bytes, place: int, bit: int) -> None:
    path = one_store.artifacts.place(one_store.artifacts.put(data))
    assert examine(one_store).damages == []
    path.chmod(0o644)
    changed = bytearray(data)
    changed[place % len(data)] ^= 1 << bit
    path.write_bytes(changed)

    found = examine(one_store)

    path.unlink()
    assert [(each.kind, each.what, each.found) for each in found.damages] == [
        ("artifact changed", digest_of(data), digest_of(bytes(changed)))
    ]


def test_a_damage_names_the_rows_that_need_it_and_prose_needs_nothing(store: Store) -> None:
    changed, gone = store.artifacts.put(b"changed"), store.artifacts.put(b"gone")
    elsewhere = digest_of(b"never kept")
    store.ledger.write(
        Kept(id="a", digest=changed), Kept(id="b", digest=gone), Kept(id="c", remark=f"like {elsewhere}")
    )
    spoil(store.artifacts.place(changed))
    store.artifacts.place(gone).unlink()

    found = {each.kind: each for each in examine(store).damages}

    assert found.keys() == {"artifact changed", "artifact missing"}
    assert [str(row) for row in found["artifact changed"].rows] == ["kept a"]
    assert [str(row) for row in found["artifact missing"].rows] == ["kept b"]


def test_leftovers_are_named_and_are_no_damage(store: Store) -> None:
    (store.artifacts.root / "partial" / "half").write_bytes(b"x")
    (store.artifacts.root / "sha256" / "ab").mkdir()
    (store.artifacts.root / "sha256" / "ab" / "notes.txt").write_bytes(b"x")

    found = examine(store)

    assert found.damages == []
    assert found.leftovers == ["artifacts/sha256/ab/notes.txt", "artifacts/partial/half"]


def test_what_is_set_aside_is_kept_elsewhere_and_the_rest_is_sound_again(store: Store) -> None:
    digest = store.artifacts.put(b"data")
    spoil(store.artifacts.place(digest))
    store.ledger.write(Kept(id="a", remark="before"), Kept(id="b"))
    store.ledger.query("UPDATE kept SET remark = CAST(x'7bff' AS TEXT) WHERE id = 'a'")
    assert len(examine(store).damages) == 2

    moved = set_aside(store, examine(store).damages)

    assert moved == [digest, "kept a"]
    assert examine(store).damages == []
    assert [kept.id for kept in store.ledger.find(Kept)] == ["b"]
    assert (store.root / "quarantine" / digest[7:]).read_bytes() != b"data"
    assert '"id": "a"' in (store.root / "quarantine" / "rows.jsonl").read_text()


def test_what_was_mended_meanwhile_stays(store: Store) -> None:
    digest = store.artifacts.put(b"data")
    path = store.artifacts.place(digest)
    spoil(path)
    damages = examine(store).damages
    spoil(path)

    assert set_aside(store, damages) == []
    assert store.artifacts.get(digest) == b"data"


@pytest.mark.parametrize("place", [4096 + 10, 2 * 4096 + 10, 3 * 4096 + 50])
def test_a_ledger_whose_pages_are_overwritten_is_told(store: Store, place: int) -> None:
    store.ledger.write(*(Kept(id=f"{number:04}", remark="r" * 40) for number in range(500)))
    store.ledger.close()
    path = store.root / "ledger.db"
    data = bytearray(path.read_bytes())
    data[place : place + 1000] = b"\xa5" * 1000
    path.write_bytes(data)

    found = examine(Store.open(store.root))

    assert {each.kind for each in found.damages} & {"ledger unreadable", "row changed"}


def test_what_a_run_is_writing_is_no_leftover(store: Store) -> None:
    with open(store.artifacts.scratch_path(), "wb") as file:
        file.write(b"half of it")

    assert examine(store).leftovers == []


def test_tables_without_row_ids_are_read_too(store: Store) -> None:
    gone = digest_of(b"never kept")
    store.ledger.query("CREATE TABLE other (a INTEGER, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID")
    for number in range(6000):
        store.ledger.query("INSERT INTO other VALUES (?, ?)", number // 2, f"{number}" if number != 5999 else gone)

    found = examine(store)

    assert found.rows == 6000
    assert [(each.kind, each.what) for each in found.damages] == [("artifact missing", gone)]

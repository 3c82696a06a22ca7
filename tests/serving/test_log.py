"""The log of a service: nothing is lost or told twice, whether sealed, half sealed or still being written."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from tests.serving.world import MODEL, ROW, SERVICE, logged, register, signature

from drivetrain.errors import NotFound
from drivetrain.serving.journal import Journal, Label, Line, Names, folder_of, time_of
from drivetrain.serving.log import Cursor, Segment, find_prediction, join_labels, read_feedback, read_new
from drivetrain.serving.sealing import seal

if TYPE_CHECKING:
    from drivetrain.store.store import Store

NAMES = Names()


def line(count: int, *, version: str = f"{MODEL}@1", **changed: Any) -> tuple[bytes, list[str]]:
    """Return a line with so many predictions, and their ids."""
    ids = NAMES.take(count)
    keys = [f"k-{name[-9:]}" for name in ids]
    body = {
        "at": time.time_ns() // 1000,
        "version": version,
        "arm": "champion",
        "ids": ids,
        "keys": keys,
        "requests": [{**ROW, "ticket": key} for key in keys],
        "predictions": [0.25] * count,
        **changed,
    }
    return msgspec.json.encode(Line(**body)) + b"\n", ids


def written(store: Store, *lines: bytes, kind: str = "predictions") -> Journal:
    """Write lines into a part that is still open."""
    journal = Journal(folder_of(store, SERVICE), kind)
    journal.write(b"".join(lines))
    return journal


def test_ids_are_sorted_by_time_and_tell_it() -> None:
    before = time.time()
    names = [name for _ in range(50) for name in Names().take(3)]
    mine = NAMES.take(5000)

    assert len(set(names)) == 150
    assert mine == sorted(set(mine))
    assert before - 0.01 <= time_of(mine[0]) <= time.time() + 0.01
    with pytest.raises(ValueError, match="no prediction id"):
        time_of("pred-1")


def test_a_part_in_use_is_read_and_not_sealed(store: Store) -> None:
    register(store, 1)
    data, ids = line(3)
    journal = written(store, data)

    assert seal(store, SERVICE) == 0
    assert logged(store)["id"].to_list() == ids
    journal.close()
    assert seal(store, SERVICE) == 3
    assert logged(store)["id"].to_list() == ids
    assert not list(folder_of(store, SERVICE).glob("*.jsonl"))


def test_what_is_sealed_reads_as_what_is_not(store: Store) -> None:
    register(store, 1)
    journal = written(store, line(2)[0], line(1, arm="canary", probabilities=None)[0])
    before = logged(store)
    journal.close()

    seal(store, SERVICE)

    assert logged(store).equals(before)
    assert before.schema["request"].fields[0].name == "ticket"  # type: ignore[attr-defined]  # a struct has fields
    segment = store.ledger.find(Segment)[0]
    assert (segment.rows, segment.version) == (3, f"{MODEL}@1")
    assert segment.first_time == datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def test_a_seal_that_was_killed_before_the_file_went_doubles_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(store, 1)
    data, ids = line(4)
    written(store, data).close()

    class Killed(BaseException):
        pass

    unlink = Path.unlink

    def die(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".jsonl":
            raise Killed
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.unlink", die)
        with pytest.raises(Killed):
            seal(store, SERVICE)
    assert len(list(folder_of(store, SERVICE).glob("*.jsonl"))) == 1

    assert logged(store)["id"].to_list() == ids
    assert read_new(store, SERVICE, Cursor())[0]["id"].to_list() == ids
    assert seal(store, SERVICE) == 0
    assert logged(store)["id"].to_list() == ids
    assert not list(folder_of(store, SERVICE).glob("*.jsonl"))


def test_a_broken_last_line_is_passed_over(store: Store) -> None:
    register(store, 1)
    data, ids = line(2)
    journal = written(store, data, line(1)[0][:50])

    assert logged(store)["id"].to_list() == ids
    journal.close()
    assert seal(store, SERVICE) == 2


@settings(deadline=None)
@given(cuts=integers(0, 2**12 - 1))
def test_a_cursor_gives_each_row_once_however_reading_and_sealing_interleave(
    tmp_path_factory: pytest.TempPathFactory, cuts: int
) -> None:
    from drivetrain.store.store import Store

    store = Store.open(tmp_path_factory.mktemp("store"))
    cursor, seen, wrote = Cursor(), [], []
    journal = Journal(folder_of(store, SERVICE), "predictions")
    for turn in range(4):
        for version in ("a@1", "b@1"):
            data, ids = line(2, version=version)
            journal.write(data)
            wrote += ids
        todo = cuts >> 3 * turn & 7
        if todo & 1:
            found, cursor = read_new(store, SERVICE, cursor)
            seen += found["id"].to_list()
        if todo & 2:
            journal.close()
        if todo & 4:
            seal(store, SERVICE)
    found, cursor = read_new(store, SERVICE, cursor)
    again, _ = read_new(store, SERVICE, cursor)
    store.close()

    assert sorted(seen + found["id"].to_list()) == sorted(wrote)
    assert len(again) == 0


def test_versions_with_other_columns_are_read_together(store: Store) -> None:
    register(store, 1)
    fewer = msgspec.structs.replace(signature(["ticket", "distance", "stops", "wind"]), features=signature().features)
    register(store, 2, signature=fewer)
    small = {"ticket": "t", "distance": 1.0, "stops": 1}
    journal = written(store, line(1)[0], line(1, version=f"{MODEL}@2", requests=[small])[0])
    for _ in range(2):
        found = logged(store)

        assert found["version"].to_list() == [f"{MODEL}@1", f"{MODEL}@2"]
        assert found["request"].struct.field("city").to_list() == ["Oslo", None]
        assert found["time"].is_null().to_list() == [False, True]
        journal.close()
        seal(store, SERVICE)


def test_features_that_were_computed_are_kept_beside_the_request(store: Store) -> None:
    register(store, 1)
    features = {"distance": [1.5], "stops": [2], "wind": [None]}
    written(store, line(1, features=features)[0])

    assert logged(store)["features"].to_list() == [{"distance": 1.5, "stops": 2, "wind": None}]


def test_the_latest_label_counts_by_id_or_key(store: Store) -> None:
    register(store, 1)
    data, ids = line(3)
    written(store, data)
    labels = [
        Label(1, 0, id=ids[0]),
        Label(2, 1, id=ids[0]),
        Label(3, 1, key=f"k-{ids[1][-9:]}"),
        Label(4, 0, id=ids[1]),
        Label(5, 1, key="someone else"),
    ]
    journal = written(store, *[msgspec.json.encode(label) + b"\n" for label in labels], kind="feedback")

    for _ in range(2):
        assert dict(join_labels(logged(store), read_feedback(store, SERVICE)).select("id", "label").iter_rows()) == {
            ids[0]: 1,
            ids[1]: 0,
        }
        assert len(read_feedback(store, SERVICE)) == 5
        journal.close()
        seal(store, SERVICE)


def test_a_prediction_is_found_by_its_id_before_and_after_sealing(store: Store) -> None:
    register(store, 1)
    data, ids = line(3)
    journal = written(store, data, line(2)[0])
    labels = [Label(3_600_000_000, 0, id=ids[1]), Label(7_200_000_000, 1, id=ids[1])]
    written(store, *[msgspec.json.encode(label) + b"\n" for label in labels], kind="feedback")

    for _ in range(2):
        found = find_prediction(store, ids[1])

        assert found.labelled_at == datetime(1970, 1, 1, 2, tzinfo=UTC)
        assert find_prediction(store, ids[0]).labelled_at is None

        assert (found.id, found.service, found.version, found.label) == (ids[1], SERVICE, f"{MODEL}@1", 1)
        assert found.request["city"] == "Oslo"
        journal.close()
        seal(store, SERVICE)
    for unknown in (NAMES.take(1)[0], "pred-1", "nonsense", ""):
        with pytest.raises(NotFound):
            find_prediction(store, unknown)


@pytest.mark.parametrize("key", [1_204, "AA 12", 'a "quoted" one'])
def test_a_prediction_has_the_latest_label_for_its_id_or_its_key(store: Store, key: int | str) -> None:
    register(store, 1)
    data, ids = line(2, keys=[str(key), "another"])
    written(store, data)
    labels = [Label(1, 0, key=key), Label(2, 1, key=key), Label(3, 0, key="another"), Label(2, 0, key="1")]
    journal = written(store, b"".join(msgspec.json.encode(label) + b"\n" for label in labels), kind="feedback")

    before = find_prediction(store, ids[0]).label
    journal.close()
    seal(store, SERVICE)

    assert (before, find_prediction(store, ids[0]).label) == (1, 1)


def test_a_part_of_a_dead_process_is_sealed(store: Store) -> None:
    register(store, 1)
    data, ids = line(2)
    child = os.fork()
    if child == 0:
        written(store, data)
        os._exit(9)
    os.waitpid(child, 0)

    assert seal(store, SERVICE) == 2
    assert logged(store)["id"].to_list() == ids


def test_an_empty_log_has_its_columns(store: Store) -> None:
    assert len(logged(store)) == 0
    assert "prediction" in logged(store).columns
    assert join_labels(logged(store), read_feedback(store, SERVICE)).columns[-1] == "label"
    assert seal(store, SERVICE) == 0

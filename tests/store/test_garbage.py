"""What goes is what no row mentions, old enough, while no run is under way; nothing else ever."""

import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.project import Project

from drivetrain.errors import CorruptLedger
from drivetrain.store.garbage import GRACE_S, collect, find_garbage
from drivetrain.store.record import Record
from drivetrain.store.store import Store


class Note(Record, frozen=True, kw_only=True):
    """A noun that nobody has thought of yet."""

    TABLE: ClassVar[str] = "note"

    id: str
    text: str = ""
    body: dict[str, Any] = {}


def left(store: Store) -> set[str]:
    collect(find_garbage(store, older_than_s=0))
    return set(store.artifacts)


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.binary(max_size=6), unique=True, max_size=8),
    wraps=st.lists(st.sampled_from(["text", "deep", "prose", "inside", "none"]), min_size=8, max_size=8),
)
def test_what_any_row_mentions_in_any_way_stays_and_the_rest_goes(
    one_store: Store, values: list[bytes], wraps: list[str]
) -> None:
    store = one_store
    for note in store.ledger.find(Note):
        store.ledger.delete(Note, note.id)
    stays = set()
    for number, (value, wrap) in enumerate(zip(values, wraps, strict=False)):
        digest = store.artifacts.put(value)
        if wrap != "none":
            stays.add(digest)
        if wrap == "text":
            store.ledger.write(Note(id=str(number), text=digest))
        elif wrap == "deep":
            store.ledger.write(Note(id=str(number), body={"a": [{"b": {"digest": digest}}]}))
        elif wrap == "prose":
            store.ledger.write(Note(id=str(number), text=f'see "{digest}", which …'))
        elif wrap == "inside":
            inner = store.keep_json({"number": number, "part": digest})
            outer = store.keep_json([inner])
            stays |= {inner, outer}
            store.ledger.write(Note(id=str(number), body={"x": outer}))

    assert left(store) == stays


def test_what_is_young_stays_and_what_was_set_aside_or_left_over_goes_when_it_is_old(store: Store) -> None:
    young, old = store.artifacts.put(b"young"), store.artifacts.put(b"old")
    others = [store.artifacts.root / "partial" / "half", store.root / "quarantine" / "bad"]
    others[1].parent.mkdir()
    for path in others:
        path.write_bytes(b"12345")
    for path in [*others, store.artifacts.place(old)]:
        os.utime(path, (time.time() - GRACE_S - 9,) * 2)

    found = find_garbage(store)

    assert {each.kind for each in found} == {"artifact", "leftover", "set aside"}
    assert collect(found) == 13
    assert list(store.artifacts) == [young]
    assert not any(path.exists() for path in others)


def test_nothing_goes_while_a_row_is_damaged_that_may_mention_anything(store: Store) -> None:
    store.ledger.write(Note(id="a", text=store.artifacts.put(b"needed")))
    store.ledger.query("UPDATE note SET text = 'sha256:' || text")

    with pytest.raises(CorruptLedger):
        find_garbage(store, older_than_s=0)


SYSTEM = """
import time
from pathlib import Path

import drivetrain as dt


@dt.step
def first() -> dict:
    return {"attempt": ATTEMPT, "step": 1}


@dt.step
def second(first: dict) -> dict:
    Path("started").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return {"attempt": ATTEMPT, "step": 2}
"""


def orphan(project: Project, value: Any) -> Path:
    """Keep a value that no row mentions, as a run that was killed leaves it, a month ago."""
    store = project.store()
    path = store.artifacts.place(store.keep(value, part="orphan").digest)
    store.close()
    os.utime(path, (time.time() - 30 * GRACE_S,) * 2)
    return path


def test_while_a_run_is_under_way_nothing_is_taken_and_afterwards_what_it_found_stays(project: Project) -> None:
    project.write(SYSTEM.replace("ATTEMPT", "0"))
    found_again = orphan(project, {"attempt": 0, "step": 2})
    never = orphan(project, {"nobody": "wants it"})
    run = project.start("run")
    while not (project.root / "started").exists():
        time.sleep(0.01)

    refused = project.command("store", "gc", "--older-than", "0s", check=1)
    (project.root / "go").touch()
    assert run.wait(timeout=60) == 0

    assert "a run is using the store" in refused.stderr
    gone = project.json("store", "gc", "--older-than", "0s")
    assert [each["path"] for each in gone["garbage"]] == [str(never)]
    assert found_again.exists()
    assert project.json("store", "fsck")["state"] == "sound"


def test_a_run_that_was_killed_holds_nothing_back(project: Project) -> None:
    project.write(SYSTEM.replace("ATTEMPT", "0"))
    run = project.start("run")
    while not (project.root / "started").exists():
        time.sleep(0.01)
    run.kill()
    run.wait()

    assert project.json("store", "gc", "--older-than", "0s")["garbage"] == []


@pytest.mark.slow
def test_runs_and_collections_at_once_never_lose_an_artifact(project: Project) -> None:
    (project.root / "go").touch()
    for attempt in range(12):
        project.write(SYSTEM.replace("ATTEMPT", str(attempt)))
        for step in (1, 2):
            orphan(project, {"attempt": attempt, "step": step})
        run = project.start("run")
        while run.poll() is None:
            project.command("store", "gc", "--older-than", "0s", check=None)
        assert run.returncode == 0
        store = project.store()
        (last,) = store.ledger.query("SELECT outputs FROM step_run ORDER BY rowid DESC LIMIT 1")[0]
        assert all(store.artifacts.has(output["digest"]) for output in json.loads(last).values())
        store.close()

    assert project.json("store", "fsck")["state"] == "sound"

"""The page of the store: counted beside it, never in the way."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.ui.conftest import Visitor

from drivetrain.pipeline.run import Run, StepRun
from drivetrain.security.event import record_event
from drivetrain.store.record import now
from drivetrain.store.store import Store
from drivetrain.system.system import System


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one artifact that a step gave, and one that nobody needs."""
    made = Store.open(tmp_path / "store")
    kept = made.keep({"a": [1] * 900}, part="a")
    at = now()
    step = StepRun(run="run-1", step="a", role="step", state="finished", key="k", origin="run-1", reason="", started_at=at, outputs={"a": kept})  # fmt: skip  # noqa: E501
    made.ledger.write(Run(id="run-1", system="s", state="finished", started_at=at), step)
    os.utime(made.artifacts.place(made.artifacts.put(b"n" * 2048)), (1, 1))
    return made


def counted(visitor: Visitor) -> Any:
    for _ in range(100):
        count = msgspec.json.decode(visitor.ask("/api/store").content)["count"]
        if count is not None:
            return count
        time.sleep(0.05)
    raise AssertionError("nothing was counted within five seconds")


def test_it_says_where_the_room_goes_and_what_can_be_freed(store: Store, system: System) -> None:
    visitor = Visitor(store, system, {})

    count = counted(visitor)
    page = visitor.ask("/store").text

    assert count["artifacts"] == 2
    files = {each["name"]: each["files"] for each in count["kinds"]}
    assert (files["json"], files["not needed"]) == (1, 1)
    assert [(each["name"], each["size_bytes"]) for each in count["garbage"]] == [("artifact", 2048)]
    assert count["largest"][1]["link"] == "/runs/run-1"
    assert "2 KiB" in page
    assert "never" in page
    assert 'http-equiv="refresh"' not in page


def test_it_tells_of_the_last_check(store: Store, system: System) -> None:
    record_event(store.ledger, "store.checked", subject="store", message="so <b>sound</b>", evidence={"damages": 0})

    page = Visitor(store, system, {}).ask("/store").text

    assert "so &lt;b&gt;sound&lt;/b&gt;" in page


def test_a_damaged_row_is_named_and_what_to_do(store: Store, system: System) -> None:
    store.ledger.query("UPDATE step_run SET seconds = 99")
    visitor = Visitor(store, system, {})

    assert "run-1, a of the table step_run is damaged" in counted(visitor)["trouble"]
    page = visitor.ask("/store")
    assert page.status_code == 200
    assert "drivetrain store fsck" in page.text


def test_while_the_first_count_goes_on_the_page_says_so_and_renews_itself(store: Store, system: System) -> None:
    folder = store.root / "artifacts" / "sha256" / "ab"
    folder.mkdir(exist_ok=True)
    for number in range(30_000):
        (folder / f"{number:062x}").touch()
    began = time.monotonic()

    page = Visitor(store, system, {}).ask("/store")

    assert time.monotonic() - began < 2
    assert "Counting" in page.text
    assert 'http-equiv="refresh"' in page.text

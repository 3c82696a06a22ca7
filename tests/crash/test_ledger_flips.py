"""A bit that flipped in the ledger or its log is noticed, or does no harm: no wrong record, no wrong result."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest
from tests.crash.bench import Bench, result_of, right
from tests.crash.syscalls import Action, Kind
from tests.crash.test_flips import flip

from drivetrain.errors import StoreError
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.pipeline.source import Source
from drivetrain.security.event import Event
from drivetrain.store.record import Record
from drivetrain.store.sqlite import SQLiteLedger

pytestmark = pytest.mark.skipif(
    find_spec("drivetrain.store.checksum") is None, reason="the rows of this ledger have no checksums"
)

KINDS: tuple[type[Record], ...] = (Run, StepRun, Figure, Source, Event)
PAGE_BYTES = 4096
# The log begins with a head of its own, and each page in it has one.
LOG_HEAD_BYTES, FRAME_BYTES = 32, PAGE_BYTES + 24


def records(ledger: Path) -> dict[tuple[object, ...], Record]:
    """Return every record by its table and key."""
    opened = SQLiteLedger(ledger)
    try:
        return {
            (kind.TABLE, *(getattr(record, field) for field in kind.KEY)): record
            for kind in KINDS
            for record in opened.find(kind)
        }
    finally:
        opened.close()


@pytest.fixture(params=["ledger.db", "ledger.db-wal"])
def kept(bench: Bench, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the file that holds three runs: the database, or the log of a process that was killed."""
    for count in (40, 50):
        bench.write(count)
        assert bench.run().code == 0
    bench.write(300)
    if request.param == "ledger.db":
        assert bench.run().code == 0
    else:
        # The last sync is of the database, the one before of the log as it goes into the database.
        syncs = bench.run(kinds={Kind.SYNC}).calls
        bench.write(301)
        # Steps that end together share a commit, so that the number of syncs is not the same in each run.
        shutil.copytree(bench.store, tmp_path / "before")
        untouched = (bench.store / "ledger.db").read_bytes()
        for at in range(syncs - 1, 0, -1):
            bench.run(kinds={Kind.SYNC}, action=Action.KILL, at=at)
            if (bench.store / "ledger.db-wal").exists() and (bench.store / "ledger.db").read_bytes() == untouched:
                break
            shutil.rmtree(bench.store)
            shutil.copytree(tmp_path / "before", bench.store)
        bench.write(300)
    shutil.copytree(bench.store, tmp_path / "kept")
    return tmp_path / "kept" / str(request.param)


def places(file: Path, a_page: int) -> Iterator[int]:
    """Yield places in every page, most of them where something is written."""
    content = file.read_bytes()
    for page in range(0, len(content), PAGE_BYTES):
        chance = Random(page)
        written = [at for at in range(page, min(page + PAGE_BYTES, len(content))) if content[at]]
        yield from chance.sample(written, min(a_page, len(written)))
        yield page + chance.randrange(min(PAGE_BYTES, len(content) - page))


def records_ever(kept: Path, folder: Path) -> set[str]:
    """Return every record that was true at some time: what the ledger holds when its log ends earlier."""
    log = kept.with_name("ledger.db-wal")
    ends = range(LOG_HEAD_BYTES, log.stat().st_size + 1, FRAME_BYTES) if log.exists() else [0]
    ever: set[str] = set()
    for end in ends:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept.parent, folder)
        if end:
            os.truncate(folder / log.name, end)
        ever |= set(map(repr, records(folder / "ledger.db").values()))
    return ever


def flipped_everywhere(bench: Bench, kept: Path, a_page: int) -> None:
    looked_at = kept.parent.with_name("looked-at")
    ever = records_ever(kept, looked_at)
    for at in places(kept, a_page):
        for place in (looked_at, bench.store):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(kept.parent, place)
            flip(place / kept.name, at, bit=at % 8)
        try:
            found = records(looked_at / "ledger.db")
        except StoreError:
            found = {}
        assert ever.issuperset(map(repr, found.values())), f"a wrong record after a flip at {at}"

        ended = bench.run()

        if ended.code == 0:
            try:
                assert result_of(bench.store, ended.run) == right(), f"a wrong result after a flip at {at}"
            except sqlite3.DatabaseError:
                continue  # the run did not come by the damaged page, and whoever does is told
        else:
            assert ended.code == 1, f"a flip at {at}: {ended.out}"
            assert "→" in ended.out, f"a flip at {at}: {ended.out}"
            assert "Traceback" not in ended.out


def test_a_flipped_bit_in_any_page_of_the_ledger_is_noticed_or_harmless(bench: Bench, kept: Path) -> None:
    flipped_everywhere(bench, kept, a_page=2)


@pytest.mark.slow
def test_flipped_bits_in_many_places_of_any_page(bench: Bench, kept: Path) -> None:
    flipped_everywhere(bench, kept, a_page=40)

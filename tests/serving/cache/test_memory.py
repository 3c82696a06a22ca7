"""What a worker keeps is bounded in bytes and in time."""

from __future__ import annotations

import os
import tracemalloc
from typing import TYPE_CHECKING

from tests.serving.clockwork import Clock

from drivetrain.serving.cache.memory import OVERHEAD_BYTES, SWEPT_AT_ONCE, Memory
from drivetrain.serving.counters import Counters, totals

if TYPE_CHECKING:
    from pathlib import Path


def room_for(entries: int) -> int:
    """Return the bytes of so many entries, with keys and entries of one byte each."""
    return entries * (2 + OVERHEAD_BYTES)


def test_what_was_not_used_for_the_longest_makes_room() -> None:
    memory = Memory(keep_s=60, max_bytes=room_for(2))
    memory.put(b"a", b"1")
    memory.put(b"b", b"2")
    memory.get(b"a")

    memory.put(b"c", b"3")

    assert [memory.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    assert memory.size_bytes == room_for(2)


def test_an_entry_goes_when_its_time_is_over_however_often_it_is_used() -> None:
    clock = Clock()
    memory = Memory(keep_s=10, max_bytes=1 << 20, clock=clock)
    memory.put(b"a", b"1")

    clock.now += 9
    found = memory.get(b"a")
    clock.now += 1

    assert found is not None
    assert (found.entry, found.left_s) == (b"1", 1.0)
    assert memory.get(b"a") is None
    assert memory.size_bytes == 0


def test_an_older_answer_than_is_asked_for_is_not_given_and_stays_for_others() -> None:
    clock = Clock()
    memory = Memory(keep_s=10, max_bytes=1 << 20, clock=clock)
    memory.put(b"a", b"1")

    clock.now += 5

    assert memory.get(b"a", max_age_s=4) is None
    assert memory.get(b"a", max_age_s=5) is not None


def test_a_newer_answer_takes_the_place_of_the_old_one() -> None:
    clock = Clock()
    memory = Memory(keep_s=10, max_bytes=1 << 20, clock=clock)
    memory.put(b"a", b"1")
    clock.now += 5

    memory.put(b"a", b"2")
    clock.now += 9

    found = memory.get(b"a")
    assert found is not None
    assert (found.entry, len(memory), memory.size_bytes) == (b"2", 1, room_for(1))


def test_what_is_larger_than_all_room_is_not_kept_and_drives_nothing_out() -> None:
    memory = Memory(keep_s=60, max_bytes=room_for(1))
    memory.put(b"a", b"1")

    memory.put(b"b", b"22")

    assert (len(memory), memory.get(b"b")) == (1, None)


def test_what_is_over_is_swept_away_a_part_at_a_time() -> None:
    clock = Clock()
    memory = Memory(keep_s=10, max_bytes=1 << 30, clock=clock)
    for number in range(SWEPT_AT_ONCE + 1):
        memory.put(b"%d" % number, b"")
    clock.now += 5
    memory.put(b"young", b"")
    clock.now += 5

    memory.sweep()
    first = len(memory)
    memory.sweep()

    assert (first, len(memory)) == (2, 1)


def test_the_bytes_that_are_counted_are_those_that_are_taken() -> None:
    count = 20_000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        memory = Memory(keep_s=60, max_bytes=1 << 30)
        for number in range(count):
            memory.put(os.urandom(32), b'{"p":%d}' % (number + 10**12))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert len(memory) == count
    assert 0.75 * memory.size_bytes < taken < 1.05 * memory.size_bytes


def test_gauges_and_evictions_are_counted(tmp_path: Path) -> None:
    counters = Counters(tmp_path)
    memory = Memory(keep_s=60, max_bytes=room_for(2), counters=counters)

    for key in (b"a", b"b", b"c"):
        memory.put(key, b"1")

    seen = totals(tmp_path)
    memory.clear()
    after = totals(tmp_path)
    counters.close()
    assert (seen.cache_entries, seen.cache_bytes, seen.cache_evictions) == (2, room_for(2), 1)
    assert (after.cache_entries, after.cache_bytes, after.cache_evictions) == (0, 0, 1)

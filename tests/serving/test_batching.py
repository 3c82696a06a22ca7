"""Micro-batches: who waits for whom, and what happens when a version is slow."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from tests.serving.world import register

from drivetrain.serving.answers import Answers
from drivetrain.serving.batching import MAX_WAITING, Batch, Batcher, Failure, Reply
from drivetrain.serving.counters import Counters, quantile_s, totals
from drivetrain.serving.journal import Journal, Names
from drivetrain.serving.live import Live, Wanted
from drivetrain.serving.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from drivetrain.store.store import Store


class Slow(Predictor):
    """Takes a while for a batch, and remembers how large each was."""

    def __init__(self, other: Predictor, seconds: float) -> None:
        self.__dict__.update(other.__dict__)
        self.one_s, self.row_s, self.sizes = seconds, 0.0, cast("list[int]", [])

    def answer(self, rows: Sequence[Any]) -> Answers:
        self.sizes.append(len(rows))
        time.sleep(self.one_s)
        return Answers([0.5] * len(rows))


def run(
    store: Store, folder: Path, seconds: float, work: Callable[[Batcher, Live], Awaitable[Any]], timeout_s: float = 5.0
) -> tuple[Any, Slow]:
    """Run something with a batcher whose version takes so many seconds."""
    version = register(store, 1)
    slow = Slow(Predictor.load(store, version), seconds)
    live = Live(Wanted(version), slow, None)

    async def whole() -> Any:
        counters = Counters(folder)
        batcher = Batcher(
            asyncio.get_running_loop(),
            journal=Journal(folder, "predictions"),
            names=Names(),
            counters=counters,
            max_batch=64,
            timeout_s=timeout_s,
        )
        try:
            return await work(batcher, live)
        finally:
            batcher.close()
            counters.close()

    return asyncio.run(whole()), slow


async def ask(batcher: Batcher, live: Live) -> str | Reply | Failure:
    batch: Batch
    batch, number = batcher.add(live, (live.champion.example(),), (msgspec.Raw(b"{}"),), "one")
    await batch.done
    return batch.replies[number]


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_what_arrives_together_is_one_batch_up_to_the_limit(store: Store, tmp_path: Path, seconds: float) -> None:
    async def work(batcher: Batcher, live: Live) -> Any:
        return await asyncio.gather(*[ask(batcher, live) for _ in range(100)])

    seen, slow = run(store, tmp_path, seconds, work)

    assert slow.sizes == [64, 36]
    assert len({msgspec.json.decode(reply)["id"] for reply in seen}) == 100
    assert totals(tmp_path).rows == 100


def test_what_arrives_while_a_slow_version_works_is_the_next_batch(store: Store, tmp_path: Path) -> None:
    async def work(batcher: Batcher, live: Live) -> Any:
        first = asyncio.ensure_future(ask(batcher, live))
        others = []
        for _ in range(11):
            await asyncio.sleep(0.005)
            others.append(asyncio.ensure_future(ask(batcher, live)))
        return await first, *[await other for other in others]

    seen, slow = run(store, tmp_path, 0.2, work)

    assert slow.sizes == [1, 11]
    assert all(isinstance(reply, str) for reply in seen)


def test_a_version_that_takes_too_long_is_given_up(store: Store, tmp_path: Path) -> None:
    async def work(batcher: Batcher, live: Live) -> Any:
        started = time.monotonic()
        both = [asyncio.ensure_future(ask(batcher, live))]
        await asyncio.sleep(0.01)
        both.append(asyncio.ensure_future(ask(batcher, live)))
        return [await each for each in both], time.monotonic() - started

    (seen, taken), slow = run(store, tmp_path, 0.4, work, timeout_s=0.1)

    assert [reply.status for reply in seen] == [504, 504]
    assert taken < 0.3
    assert len(slow.sizes) == 1


def test_an_answer_that_cannot_be_written_down_fails_and_leaves_nobody_waiting(store: Store, tmp_path: Path) -> None:
    async def work(batcher: Batcher, live: Live) -> Any:
        cast("Slow", live.champion).answer = lambda rows: Answers([object()] * len(rows))  # type: ignore[method-assign]
        return await asyncio.wait_for(ask(batcher, live), 5)

    seen, _ = run(store, tmp_path, 0.0, work)

    assert seen.status == 500


def test_more_than_can_wait_is_turned_away(store: Store, tmp_path: Path) -> None:
    async def work(batcher: Batcher, live: Live) -> Any:
        asked = [asyncio.ensure_future(ask(batcher, live)) for _ in range(64 * (MAX_WAITING + 2))]
        return await asyncio.gather(*asked)

    seen, _ = run(store, tmp_path, 0.01, work)

    turned_away = [reply for reply in seen if isinstance(reply, Failure)]
    assert {reply.status for reply in turned_away} == {503}
    assert len(turned_away) == 128


def test_counters_go_on_when_a_worker_takes_the_place_of_another(tmp_path: Path) -> None:
    first, second = Counters(tmp_path), Counters(tmp_path)
    first.add("rows", 5)
    second.add("rows", 2)
    first.answered(200, time.monotonic_ns())
    second.answered(404, time.monotonic_ns())
    before = totals(tmp_path)
    first.close()

    third = Counters(tmp_path)
    third.add("rows", 1)

    assert (first.slot, second.slot, third.slot) == (0, 1, 0)
    assert (before.rows, before.requests, before.workers) == (7, 2, 2)
    assert (totals(tmp_path).rows, totals(tmp_path).workers) == (8, 2)
    assert 0 < quantile_s(before.latency, 0.5) <= 0.00025

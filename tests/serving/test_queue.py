"""The queue before a model: what goes together, who is turned away, and which latency holds under which load.

All of it is the server's own code, in the time of a clock that no busy machine disturbs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from tests.serving.clockwork import Told, World, share_within

from drivetrain.serving.answers import Answers
from drivetrain.serving.batching import Failure
from drivetrain.serving.counters import totals
from drivetrain.serving.curve import Curve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drivetrain.store.store import Store


def steady(one_s: float, row_s: float = 0.0) -> Callable[[int], float]:
    return lambda rows: one_s + row_s * rows


def statuses(told: list[Told]) -> dict[int, int]:
    return dict(Counter(each.status for each in told))


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_what_arrives_together_is_one_batch_up_to_the_limit(store: Store, tmp_path: Path, seconds: float) -> None:
    world = World(store, tmp_path, steady(seconds))

    async def work() -> Any:
        return await asyncio.gather(*[world.ask() for _ in range(100)])

    seen = world.run(work)

    assert world.model.sizes == [64, 36]
    assert len({msgspec.json.decode(told.reply)["id"] for told in seen}) == 100
    assert totals(tmp_path).rows == 100


@pytest.mark.parametrize("seconds", [0.0005, 0.05])
def test_a_lone_request_waits_for_nobody(store: Store, tmp_path: Path, seconds: float) -> None:
    world = World(store, tmp_path, steady(seconds), latency_target_s=0.5)

    seen = world.run(lambda: world.stream(per_s=1, seconds=5))

    assert [told.took_s for told in seen] == [pytest.approx(seconds)] * 5


def test_nobody_is_turned_away_by_a_guess(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.01), timeout_s=1.5)
    world.live.curve = Curve({}, clock=world.clock)  # as that of a class that nobody has asked yet

    async def work() -> Any:
        first = asyncio.ensure_future(world.ask())
        await asyncio.sleep(0.001)
        return await asyncio.gather(first, *[world.ask() for _ in range(300)])

    assert statuses(world.run(work)) == {200: 301}


@pytest.mark.parametrize("per_s", [15, 30, 50])
def test_of_a_class_that_nobody_has_measured_too_many_are_turned_away_and_none_expires(
    store: Store, tmp_path: Path, per_s: int
) -> None:
    # 20 a second are possible, and as a batch they take as long as one by one.
    world = World(store, tmp_path, steady(0.0, 0.05), timeout_s=2.0, max_batch=256)
    world.live.curve = Curve({}, clock=world.clock)

    seen = world.run(lambda: world.stream(per_s=per_s, seconds=10))

    assert set(statuses(seen)) <= {200, 503}
    assert statuses(seen)[200] >= min(per_s, 20) * 10


def test_of_a_class_that_nobody_has_measured_batches_are_as_large_as_they_are_worth(
    store: Store, tmp_path: Path
) -> None:
    # One row takes 51 ms, and fifty take 100: 500 a second.
    world = World(store, tmp_path, steady(0.05, 0.001), timeout_s=2.0, max_batch=256)
    world.live.curve = Curve({}, clock=world.clock)

    seen = world.run(lambda: world.stream(per_s=450, seconds=10))

    assert statuses(seen)[200] >= 0.99 * 4500
    assert share_within(seen, 0.3) >= 0.99


def test_what_arrives_while_a_slow_version_works_is_the_next_batch(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.2))

    seen = world.run(lambda: world.stream(per_s=100, seconds=0.12))

    assert world.model.sizes == [1, 11]
    assert statuses(seen) == {200: 12}


def test_a_version_that_takes_too_long_is_given_up(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.01), timeout_s=0.1)

    async def work() -> Any:
        world.model.takes_s = steady(0.4)
        return await world.stream(per_s=100, seconds=0.15)

    seen = world.run(work)

    assert {told.status for told in seen} == {504, 503}
    assert max(told.took_s for told in seen) <= 0.102
    assert world.model.sizes == [1]  # whoever waited behind it is told so, and not worked for
    assert totals(tmp_path).expired >= 1


def test_an_answer_that_cannot_be_written_down_fails_and_leaves_nobody_waiting(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.0))
    cast("Any", world.model).answer = lambda rows: Answers([object()] * len(rows))

    assert world.run(world.ask).status == 500


def test_a_burst_is_answered_within_the_target_as_far_as_it_can_be(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.005, 0.001), max_batch=256, latency_target_s=0.1)

    async def work() -> Any:
        return await asyncio.gather(*[world.ask() for _ in range(500)])

    seen = world.run(work)

    # 40 rows take half of nine tenths of the target, and two such batches all of that.
    assert world.model.sizes == [40, 40]
    assert statuses(seen) == {200: 80, 503: 420}
    assert share_within(seen, 0.1) == 1.0
    refused = next(told.reply for told in seen if isinstance(told.reply, Failure))
    assert refused.retry_after_s == 1
    assert "has 0.09 s" in refused.message
    assert totals(tmp_path).turned_away == 420


def test_it_is_busy_from_when_a_request_comes_until_it_is_answered(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.010))

    async def work() -> Any:
        found = [(world.queue.is_busy, world.queue.is_at_work)]
        asked = asyncio.ensure_future(world.ask())
        for pause_s in (0.0, 0.005):
            await asyncio.sleep(pause_s)
            found.append((world.queue.is_busy, world.queue.is_at_work))
        await asked
        return [*found, (world.queue.is_busy, world.queue.is_at_work)]

    assert world.run(work) == [(False, False), (True, False), (True, True), (False, False)]


def test_without_a_target_a_burst_is_answered_as_far_as_the_time_limit_goes(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.005, 0.001), max_batch=256, timeout_s=2.0)

    async def work() -> Any:
        return await asyncio.gather(*[world.ask() for _ in range(5000)])

    seen = world.run(work)

    told = statuses(seen)
    assert told.keys() == {200, 503}
    assert 1500 <= told[200] <= 1620  # 40 rows in 45 ms are 1,600 in nine tenths of 2 s
    assert share_within(seen, 2.0) == 1.0


def test_more_than_the_capacity_holds_the_latency_and_the_throughput(store: Store, tmp_path: Path) -> None:
    # 40 rows in 45 ms: 889 a second are possible, and twice as many come.
    world = World(store, tmp_path, steady(0.005, 0.001), max_batch=256, latency_target_s=0.1)

    seen = world.run(lambda: world.stream(per_s=1800, seconds=4))

    assert share_within(seen, 0.1) >= 0.99
    assert statuses(seen)[200] >= 0.95 * 889 * 4
    assert {told.status for told in seen} == {200, 503}


def test_a_model_that_becomes_slower_is_followed(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.002, 0.0005), max_batch=256, latency_target_s=0.1)

    def drifting(rows: int) -> float:
        slower = 1 + 3 * (world.clock.now - 1000) / 20  # four times as slow after 20 s
        return (0.002 + 0.0005 * rows) * slower

    async def work() -> Any:
        world.model.takes_s = drifting
        return await world.stream(per_s=900, seconds=20)

    seen = world.run(work)

    assert share_within(seen, 0.1) >= 0.99
    late = [told for told in seen if told.at > 1015]
    assert statuses(late).get(503, 0) > 0  # by then it cannot answer all
    assert max(rows for at, rows in world.model.batches if at > 1015) < 40


def test_a_step_down_and_up_again_is_followed(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.002, 0.0002), max_batch=256, latency_target_s=0.1)

    def stepping(rows: int) -> float:
        return (0.002 + 0.0002 * rows) * (10 if 1005 <= world.clock.now < 1010 else 1)

    async def work() -> Any:
        world.model.takes_s = stepping
        return await world.stream(per_s=1000, seconds=15)

    seen = world.run(work)

    # A second after each change the target holds again, and all are answered where all can be.
    settled = [told for told in seen if not 1005 <= told.at < 1006 and not 1010 <= told.at < 1011]
    assert share_within(settled, 0.1) >= 0.99
    assert statuses([told for told in seen if told.at > 1011]) == {200: pytest.approx(4000, abs=2)}
    assert statuses([told for told in seen if told.at < 1005]) == {200: pytest.approx(5000, abs=2)}


def test_a_model_of_two_speeds_is_batched_by_the_slow_one(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.002, 0.0001), max_batch=256, latency_target_s=0.1)
    asked = iter(range(10**9))

    async def work() -> Any:
        world.model.takes_s = lambda rows: 0.002 + 0.0001 * rows + (0.04 if next(asked) % 4 == 0 else 0.0)
        return await world.stream(per_s=500, seconds=10)

    seen = world.run(work)

    assert share_within(seen, 0.1) >= 0.98
    assert statuses(seen).get(200, 0) >= 4750


def test_a_quick_model_that_becomes_slow_leaves_the_loop_free(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.0005))
    late_s = []

    async def beat() -> None:
        for _ in range(400):
            due = world.clock.now + 0.005
            await asyncio.sleep(0.005)
            late_s.append(world.clock.now - due)

    async def work() -> Any:
        world.model.takes_s = lambda rows: 0.0005 if world.clock.now < 1001 else 0.05
        beating = asyncio.ensure_future(beat())
        told = await world.stream(per_s=200, seconds=2)
        await beating
        return told

    seen = world.run(work)

    assert statuses(seen) == {200: 400}
    assert sum(late > 0.04 for late in late_s) <= 8  # until half of what is remembered is slow
    assert max(late_s[-100:]) < 0.002


def test_a_request_of_many_rows_does_not_hold_up_those_of_one(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.001, 0.0005), max_batch=256, latency_target_s=0.1, timeout_s=30.0)

    async def work() -> Any:
        large = asyncio.ensure_future(world.ask(10_000))
        await asyncio.sleep(0.001)
        small = await world.stream(per_s=100, seconds=4)
        return small, await large

    small, large = world.run(work)

    assert share_within(small, 0.1) == 1.0
    assert statuses(small) == {200: 400}
    assert large.status == 200
    predictions = msgspec.json.decode(large.reply)["predictions"]
    assert len({each["id"] for each in predictions}) == 10_000
    assert large.took_s < 15  # 5.1 s of work, half of the time, and the small ones
    assert totals(tmp_path).rows == 10_400


def test_many_rows_that_cannot_be_answered_in_time_are_given_up_early(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.001, 0.001), max_batch=64, timeout_s=1.0)

    async def work() -> Any:
        return await world.ask(10_000)

    told = world.run(work)

    assert told.status == 504
    assert len(world.model.sizes) == 1
    assert told.took_s < 0.1


def test_a_large_request_that_fails_is_told_once_and_others_go_on(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.001, 0.0005), max_batch=64)
    told = Answers([0.5] * 64)

    def answer(rows: Any) -> Answers:
        world.clock.now += 0.01
        world.model.batches.append((world.clock.now, len(rows)))
        if len(world.model.batches) == 3:
            raise ValueError("a bad row")
        return told if len(rows) == 64 else Answers([0.5] * len(rows))

    cast("Any", world.model).answer = answer

    async def work() -> Any:
        return [await world.ask(640), await world.ask(1)]

    assert [each.status for each in world.run(work)] == [500, 200]
    assert totals(tmp_path).rows == 1


def test_a_client_that_waits_less_is_told_so_and_not_worked_for(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.1))

    async def work() -> Any:
        first = asyncio.ensure_future(world.ask())
        await asyncio.sleep(0.01)
        now = world.clock.now
        others = [asyncio.ensure_future(world.ask(until=now + waits)) for waits in (0.05, 0.15, 0.5)]
        return [await each for each in (first, *others)]

    first, hasty, hopeless, patient = world.run(work)

    # Two cannot be answered before they go: 90 ms of another batch, and 100 ms of their own.
    assert [told.status for told in (first, hasty, hopeless, patient)] == [200, 504, 504, 200]
    assert world.model.sizes == [1, 1]


def test_what_has_expired_while_it_waited_is_not_begun(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.01))

    async def work() -> Any:
        world.model.takes_s = steady(0.3)  # nobody knows yet
        first = asyncio.ensure_future(world.ask())
        await asyncio.sleep(0.001)
        second = asyncio.ensure_future(world.ask(until=world.clock.now + 0.1))
        return await first, await second

    first, second = world.run(work)

    assert (first.status, second.status) == (200, 504)
    assert second.took_s == pytest.approx(0.1, abs=0.002)
    assert world.model.sizes == [1]


def test_rows_of_a_client_that_has_gone_are_not_worked_for(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(0.1))

    async def work() -> Any:
        tasks = [asyncio.ensure_future(world.ask())]
        await asyncio.sleep(0.01)
        tasks += [asyncio.ensure_future(world.ask()) for _ in range(6)]
        await asyncio.sleep(0.01)
        for task in tasks[1:5]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    seen = world.run(work)

    assert [isinstance(told, asyncio.CancelledError) for told in seen] == [False] + [True] * 4 + [False] * 2
    assert world.model.sizes == [1, 2]


def test_a_wrong_first_measure_turns_nobody_away_for_good(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, steady(60.0), timeout_s=2.0)  # the machine was asleep while it loaded

    async def work() -> Any:
        world.model.takes_s = steady(0.001)
        return await world.stream(per_s=100, seconds=1)

    seen = world.run(work)

    assert statuses(seen)[200] >= 95

"""Who asks for the same at once is answered once, and nobody suffers from what becomes of another."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from drivetrain.errors import RequestError
from drivetrain.serving.cache.control import Control
from drivetrain.serving.cache.sharing import Shared, Sharing
from drivetrain.serving.cache.terms import Cache
from drivetrain.serving.counters import Counters
from drivetrain.serving.patience import ENDLESS, Patience

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KEYS = [b"a", b"b"]


class Model:
    """Answers after `takes_s`, or fails, and remembers what it was asked."""

    def __init__(self, takes_s: float = 0.05) -> None:
        self.takes_s, self.failures = takes_s, 0
        self.asked: list[list[int]] = []

    async def ask(self, places: Sequence[int], patience: Patience) -> list[bytes]:
        number = len(self.asked)
        self.asked.append(list(places))
        await asyncio.sleep(self.takes_s)
        if number < self.failures:
            raise RequestError(status=502, message=f"failed {number}")
        return [b"%d of %d" % (place, number) for place in places]


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[Counters]:
    made = Counters(tmp_path)
    yield made
    made.close()


def sharing_of(counters: Counters) -> Sharing:
    return Sharing(Cache(), counters, timeout_s=2.0)


def waiting(seconds: float) -> Patience:
    return Patience(monotonic() + seconds)


def test_many_who_ask_for_the_same_are_answered_once(counters: Counters) -> None:
    async def main() -> tuple[list[Shared], list[str]]:
        controls = [Control() for _ in range(20)]
        finding = [sharing.find(KEYS[:1], model.ask, ENDLESS, control) for control in controls]
        return await asyncio.gather(*finding), [control.status for control in controls]

    sharing, model = sharing_of(counters), Model()

    found, told = asyncio.run(main())

    assert model.asked == [[0]]
    assert {each.entries[0] for each in found} == {b"0 of 0"}
    assert sorted(each.asked for each in found) == [[]] * 19 + [[0]]
    assert sorted(told) == ["drivetrain; fwd=miss"] + ["drivetrain; fwd=miss; collapsed"] * 19
    assert [counters.get(f"cache_{name}") for name in ("hits", "misses", "collapsed")] == [0, 1, 19]


def test_when_the_first_goes_away_one_of_the_others_asks(counters: Counters) -> None:
    async def main() -> list[Any]:
        first = asyncio.create_task(sharing.find(KEYS[:1], model.ask))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(sharing.find(KEYS[:1], model.ask)) for _ in range(10)]
        await asyncio.sleep(0.01)
        first.cancel()
        return await asyncio.gather(first, *others, return_exceptions=True)

    sharing, model = sharing_of(counters), Model(0.2)

    first, *others = asyncio.run(main())

    assert isinstance(first, asyncio.CancelledError)
    assert {each.entries[0] for each in others} == {b"0 of 1"}
    assert model.asked == [[0], [0]]


def test_a_follower_that_goes_away_ends_nothing_for_the_others(counters: Counters) -> None:
    async def main() -> list[Any]:
        tasks = [asyncio.create_task(sharing.find(KEYS[:1], model.ask)) for _ in range(3)]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    sharing, model = sharing_of(counters), Model()

    leader, gone, other = asyncio.run(main())

    assert leader.entries == other.entries == [b"0 of 0"]
    assert isinstance(gone, asyncio.CancelledError)
    assert model.asked == [[0]]


def test_a_failure_is_told_to_the_one_who_met_it_and_the_others_ask_for_themselves(counters: Counters) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*[sharing.find(KEYS[:1], model.ask) for _ in range(4)], return_exceptions=True)

    sharing, model = sharing_of(counters), Model()
    model.failures = 1

    first, *others = asyncio.run(main())

    assert isinstance(first, RequestError)
    assert [len(each.entries) for each in others] == [1, 1, 1]
    assert model.asked == [[0]] * 4


def test_each_is_told_of_its_own_failure_and_none_is_kept(counters: Counters) -> None:
    async def main() -> list[Any]:
        found = await asyncio.gather(*[sharing.find(KEYS[:1], model.ask) for _ in range(4)], return_exceptions=True)
        return [*found, await sharing.find(KEYS[:1], model.ask)]

    sharing, model = sharing_of(counters), Model(0.0)
    model.failures = 4

    *failed, last = asyncio.run(main())

    assert sorted(str(each) for each in failed) == [f"failed {number}" for number in range(4)]
    assert last.entries == [b"0 of 4"]
    assert len(sharing.memory) == 1


def test_who_waits_for_another_waits_no_longer_than_its_client(counters: Counters) -> None:
    async def main() -> list[Any]:
        patient = sharing.find(KEYS[:1], model.ask)
        hasty = sharing.find(KEYS[:1], model.ask, waiting(0.05))
        return list(await asyncio.gather(patient, hasty, return_exceptions=True))

    sharing, model = sharing_of(counters), Model(0.3)

    patient, hasty = asyncio.run(main())

    assert patient.entries == [b"0 of 0"]
    assert isinstance(hasty, RequestError)
    assert (hasty.status, counters.get("expired")) == (504, 1)


def test_two_who_wait_for_each_other_are_both_answered(counters: Counters) -> None:
    async def main() -> tuple[Shared, ...]:
        return await asyncio.gather(
            sharing.find([b"a", b"c"], model.ask), sharing.find([b"b", b"a"], model.ask), sharing.find(KEYS, model.ask)
        )

    sharing, model = sharing_of(counters), Model()

    found = asyncio.run(main())

    assert model.asked == [[0, 1], [0]]
    assert [each.entries for each in found] == [[b"0 of 0", b"1 of 0"], [b"0 of 1", b"0 of 0"], [b"0 of 0", b"0 of 1"]]


def test_a_row_that_stands_twice_in_one_request_is_asked_for_once(counters: Counters) -> None:
    sharing, model = sharing_of(counters), Model(0.0)

    found = asyncio.run(sharing.find([b"a", None, b"a", None], model.ask))

    assert model.asked == [[0, 1, 3]]
    assert found.entries == [b"0 of 0", b"1 of 0", b"0 of 0", b"3 of 0"]
    assert len(sharing.memory) == 1


def test_who_wants_a_new_answer_asks_and_who_wants_none_kept_leaves_none(counters: Counters) -> None:
    async def main() -> list[bytes]:
        controls = [Control(looks_up=False, stores=False), Control(), Control(looks_up=False), Control()]
        return [(await sharing.find(KEYS[:1], model.ask, ENDLESS, each)).entries[0] for each in controls]

    sharing, model = sharing_of(counters), Model(0.0)

    assert asyncio.run(main()) == [b"0 of 0", b"0 of 1", b"0 of 2", b"0 of 2"]
    assert [counters.get(f"cache_{name}") for name in ("hits", "misses")] == [1, 1]

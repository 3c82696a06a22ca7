"""kill -9 before each call that changes the store, in a run and in the runs that recover from it."""

from __future__ import annotations

import signal
from random import Random

import pytest
from tests.crash.bench import STEPS, Bench, kept_keys, kept_steps, result, right, spread
from tests.crash.syscalls import Action

KILLED = -signal.SIGKILL
# How many calls a first run makes is counted, not known; with fewer, this would not be the proof that is promised.
LEAST_POINTS = 200


def recovered(bench: Bench, told: set[str]) -> None:
    """Look at what an ended process left, run again, and look at what that gave."""
    kept = kept_steps(bench.store)
    assert told <= kept, f"the user was told of {told - kept}, which are lost"
    before = bench.executed()

    ended = bench.run()

    assert ended.code == 0, ended.out
    again = bench.executed() - before
    assert not kept & again.keys(), "a finished step ran again"
    assert all(times == 1 for times in again.values())
    assert kept | again.keys() == set(STEPS)
    assert kept_steps(bench.store) == set(STEPS)
    assert result(bench.store) == right()


def killed_at(bench: Bench, *points: int, action: Action = Action.KILL) -> bool:
    """Kill a first run at its call of that number, the next run at its call of the second, and so on.

    Return whether each of them came that far.
    """
    bench.clear()
    told: set[str] = set()
    for at in points:
        before, kept = bench.executed(), kept_steps(bench.store)
        assert told <= kept
        ended = bench.run(action=action, at=at)
        assert not kept & (bench.executed() - before).keys(), "a finished step ran again"
        if ended.code == 0:
            return False
        assert ended.code == KILLED, f"calls {points}: {ended}"
        told |= ended.finished
    recovered(bench, told)
    return True


def calls_of(bench: Bench) -> int:
    """Return how many calls of a first run change the store."""
    bench.clear()
    ended = bench.run()
    assert ended.code == 0
    assert bench.executed() == dict.fromkeys(STEPS, 1)
    assert result(bench.store) == right()
    assert ended.calls >= LEAST_POINTS
    return ended.calls


def test_killed_before_any_call_a_run_goes_on_from_the_last_finished_step(bench: Bench) -> None:
    for at in range(1, calls_of(bench) + 1):
        assert killed_at(bench, at)


def test_killed_while_it_recovers_and_again_it_still_goes_on(bench: Bench) -> None:
    chance, calls = Random(0), calls_of(bench)
    came_so_far = [
        killed_at(bench, at, chance.randrange(1, 60), chance.randrange(1, 60)) for at in spread(1, calls, 40)
    ]
    assert sum(came_so_far) > 20


def test_killed_in_the_middle_of_a_write_it_goes_on(bench: Bench) -> None:
    for at in spread(1, calls_of(bench), 40):
        assert killed_at(bench, at, action=Action.KILL_TORN)


@pytest.mark.slow
def test_killed_at_every_call_in_the_middle_of_its_write(bench: Bench) -> None:
    for at in range(1, calls_of(bench) + 1):
        assert killed_at(bench, at, action=Action.KILL_TORN)


@pytest.mark.slow
def test_killed_at_every_call_of_the_run_that_recovers(bench: Bench) -> None:
    """The first run is killed at each of some points, the next at every call that it makes."""
    points = 0
    for first in spread(1, calls_of(bench), 12):
        for second in range(1, 1_000):
            if not killed_at(bench, first, second):
                break
            points += 1
    assert points >= 1_000


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "4"])
def test_killed_at_every_call_onto_a_store_with_an_earlier_run(bench: Bench, workers: str) -> None:
    for at in range(1, 1_000):
        bench.clear(count=40)
        assert bench.run().code == 0
        earlier = kept_keys(bench.store)
        bench.write(300)

        ended = bench.run("--workers", workers, action=Action.KILL, at=at)

        if ended.code == 0:
            assert at > 100
            return
        assert ended.code == KILLED
        later = kept_keys(bench.store)
        kept = {step for key, step in later.items() if key not in earlier}
        assert earlier.items() <= later.items()
        assert ended.finished <= kept
        before = bench.executed()
        assert bench.run("--workers", workers).code == 0
        again = bench.executed() - before
        assert not kept & again.keys()
        assert kept | again.keys() == set(STEPS)
        assert result(bench.store) == right()
    pytest.fail("there is no end of calls")

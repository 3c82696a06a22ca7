"""The power goes at any call, or a sync fails before: what the user was told is there, and the rest runs again."""

from __future__ import annotations

import errno
from random import Random

import pytest
from tests.crash.bench import STEPS, Bench, kept_steps, result, right, spread
from tests.crash.power import Disk, told_finished
from tests.crash.syscalls import Action, Call, Kind

# How much of what was not synced is on the disk, in turn: nothing, all of it, or some.
SHARES = (0.0, 1.0, 0.5, 0.1, 0.9)


def cut_and_recovered(bench: Bench, calls: list[Call], seed: int) -> None:
    """Cut the power after these calls, run again, and look at both."""
    disk = Disk(str(bench.project))
    for call in calls:
        disk.carry_out(call)
    bench.clear()
    disk.cut(Random(seed), SHARES[seed % len(SHARES)])
    kept, told = kept_steps(bench.store), told_finished(calls)
    assert told <= kept, f"the user was told of {told - kept}, which are lost"

    ended = bench.run()

    assert ended.code == 0, ended.out
    again = bench.executed()
    assert not kept & again.keys(), "a finished step ran again"
    assert kept | again.keys() == set(STEPS)
    assert kept_steps(bench.store) == set(STEPS)
    assert result(bench.store) == right()


def cut_at_many(bench: Bench, calls: list[Call], states: int, *, first: int = 0) -> None:
    """Cut at `states` places after the first calls, evenly apart; a place that comes again gets another chance."""
    for number, at in enumerate(round(first + n * (len(calls) - first) / (states - 1)) for n in range(states)):
        cut_and_recovered(bench, calls[:at], number)


def killed_and_recovered(bench: Bench, at: int) -> tuple[list[Call], int]:
    """Return the calls of a run that is killed and of the one after it, and how many are of the first."""
    bench.clear()
    bench.run(action=Action.KILL, at=at, traced=True)
    first = len(bench.traced())
    assert bench.run(traced=True).code == 0
    return bench.traced(), first


def sync_failed(bench: Bench, at: int, action: Action, times: int) -> tuple[list[Call], int]:
    """Return the calls of a process in which a sync fails, and of a sound one after it; and how many are of the first.

    The first process tries `times` times.
    """
    bench.clear()
    bench.run(kinds={Kind.SYNC}, at=at, action=action, error=errno.EIO, traced=True, times=times)
    first = len(bench.traced())
    assert bench.run(traced=True).code == 0
    return bench.traced(), first


def syncs_of(bench: Bench) -> int:
    return bench.run(kinds={Kind.SYNC}).calls


def told_at(calls: list[Call], first: int) -> list[int]:
    """Return where the power goes: after the first process, whenever the second has said something, and at the end."""
    said = [at + 1 for at, call in enumerate(calls) if at >= first and call.kind is Kind.NOTE and call.data.strip()]
    return [first, *said, len(calls)]


def test_what_was_told_survives_a_power_cut_at_any_call(bench: Bench) -> None:
    assert bench.run(traced=True).code == 0
    cut_at_many(bench, bench.traced(), 400)


def test_what_was_told_survives_a_power_cut_after_a_kill(bench: Bench) -> None:
    for at in spread(1, bench.run().calls, 10):
        calls, first = killed_and_recovered(bench, at)
        cut_at_many(bench, calls, 10, first=first)


@pytest.mark.parametrize("times", [1, 2])
def test_a_failed_sync_is_never_retried_into_success(bench: Bench, times: int) -> None:
    for at in range(1, syncs_of(bench) + 1):
        calls, first = sync_failed(bench, at, Action.FAIL, times)
        for place in (first, len(calls)):
            cut_and_recovered(bench, calls[:place], seed=0)


@pytest.mark.slow
def test_power_cuts_in_five_thousand_states(bench: Bench) -> None:
    assert bench.run(traced=True).code == 0
    cut_at_many(bench, bench.traced(), 2_000)
    for at in spread(1, bench.run().calls, 30):
        calls, first = killed_and_recovered(bench, at)
        cut_at_many(bench, calls, 100, first=first)


@pytest.mark.slow
@pytest.mark.parametrize("action", [Action.FAIL, Action.FAIL_ON], ids=lambda action: action.name)
@pytest.mark.parametrize("times", [1, 2])
def test_a_failed_sync_is_never_retried_into_success_whenever_the_power_goes(
    bench: Bench, times: int, action: Action
) -> None:
    for at in range(1, syncs_of(bench) + 1):
        calls, first = sync_failed(bench, at, action, times)
        for seed, place in enumerate(told_at(calls, first)):
            cut_and_recovered(bench, calls[:place], seed=0)
            cut_and_recovered(bench, calls[:place], seed)

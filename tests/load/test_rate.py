"""The search for the highest rate, on a server whose capacity is known."""

from __future__ import annotations

from tests.load.toy import SERVICE_S, toy

from drivetrain.load.plan import Plan, Target
from drivetrain.load.process import carry_out
from drivetrain.load.rate import falls_behind, highest_rate, verdict
from drivetrain.load.report import Report, Slice


def test_the_highest_rate_is_found_near_what_the_server_can_do() -> None:
    capacity = 1 / SERVICE_S
    with toy("queue") as url:

        def measure(rate: float, seconds: float) -> Report:
            return carry_out(
                Plan(
                    target=Target(url=url),
                    requests=[b"{}"],
                    rate=rate,
                    seconds=seconds,
                    connections=64,
                    slice_s=0.25,
                    limit_s=0.15,
                    timeout_s=1,
                )
            )

        found, report = highest_rate(measure, limit_ms=150, start=0.7 * capacity, seconds=0.8)

    # So long a request takes at least; sleeping takes a little longer.
    assert 0.5 * capacity <= found.rate <= 1.02 * capacity
    assert found.fails_at is not None
    assert found.fails_at > found.rate
    assert report is not None
    assert report.p99_ms <= 150


def test_a_verdict_needs_enough_requests() -> None:
    assert verdict([Slice(at_s=0, asked=200)])[0] == "unsure"
    assert verdict([Slice(at_s=0, asked=300)])[0] == "holds"
    assert verdict([Slice(at_s=0, asked=1000, missed=30)])[0] == "fails"
    assert verdict([])[0] == "unsure"


def test_misses_that_come_together_weigh_less_than_as_many_alone() -> None:
    alone = [Slice(at_s=number, asked=100, missed=number % 2) for number in range(40)]
    together = [Slice(at_s=number, asked=100, missed=20 * (number == 7)) for number in range(40)]

    (first, share, most), (second, same_share, more) = verdict(alone), verdict(together)

    assert share == same_share == 0.005
    assert most < more
    assert (first, second) == ("holds", "unsure")


def test_waiting_longer_and_longer_is_falling_behind() -> None:
    steady = [Slice(at_s=number / 4, asked=50, p50_ms=8 + number % 3) for number in range(16)]
    growing = [Slice(at_s=number / 4, asked=50, p50_ms=8 + 25 * number) for number in range(16)]

    assert not falls_behind(steady)
    assert falls_behind(growing)

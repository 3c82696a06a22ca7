"""The time of a batch by its rows, as it is learnt."""

from __future__ import annotations

import pytest
from tests.serving.clockwork import Clock

from drivetrain.serving.curve import Curve


def curve(clock: Clock | None = None) -> Curve:
    return Curve({1: 0.010, 64: 0.073}, clock=clock or Clock())


def test_one_outlier_changes_nothing() -> None:
    seen = curve()
    for _ in range(20):
        seen.add(1, 0.010)
    seen.add(1, 3.0)

    assert seen.typical_s(1) == pytest.approx(0.010)
    assert seen.likely_s(1) == pytest.approx(0.010)


def test_the_first_batch_of_its_size_may_be_an_outlier() -> None:
    seen = curve()
    seen.add(12, 3.0)

    assert seen.typical_s(12) == pytest.approx(0.021)
    assert seen.likely_s(12) == pytest.approx(0.021)
    seen.add(12, 3.0)
    assert seen.typical_s(12) == pytest.approx(3.0)
    assert seen.likely_s(12) == pytest.approx(3.0)


def test_a_guess_ends_with_the_first_batch() -> None:
    seen = Curve({}, clock=Clock())
    before = (seen.is_guess, seen.typical_s(7))

    seen.add(20, 0.005)

    assert before == (True, 1.0)
    assert not seen.is_guess
    # At worst, more rows take more time by as much.
    assert [seen.typical_s(rows) for rows in (1, 7, 20, 64)] == pytest.approx([0.005, 0.005, 0.005, 0.016])


def test_what_nobody_had_measured_is_tried_with_more_rows_until_that_is_slow() -> None:
    clock = Clock()
    quick, slow = Curve({}, clock=clock), Curve({}, clock=clock)
    tried: dict[Curve, list[int]] = {quick: [], slow: []}
    for each, per_row_s in ((quick, 0.0), (slow, 0.05)):
        for _ in range(8):
            rows = each.worth_trying(each.rows_within(0.1, most=256), most=256, risk_s=0.2)
            tried[each].append(rows)
            each.add(rows, 0.05 + per_row_s * (rows - 1))

    assert tried[quick][-1] == 256
    assert sorted(tried[quick]) == tried[quick]
    assert tried[slow][-1] == 2
    clock.now += 11  # it may have become quicker
    assert slow.worth_trying(2, most=256, risk_s=0.2) == 4
    assert curve().worth_trying(2, most=256, risk_s=0.2) == 2


def test_a_step_is_followed_within_as_many_batches_as_are_remembered() -> None:
    seen = curve()
    for _ in range(20):
        seen.add(8, 0.002)
    for _ in range(15):
        seen.add(8, 0.020)

    assert seen.typical_s(8) == pytest.approx(0.020)
    assert seen.likely_s(8) == pytest.approx(0.020)


def test_of_two_speeds_the_likely_worst_is_the_slow_one() -> None:
    seen = curve()
    for number in range(60):
        seen.add(1, 0.050 if number % 4 == 0 else 0.001)

    assert seen.typical_s(1) < 0.010
    assert seen.likely_s(1) == pytest.approx(0.050)


def test_sizes_that_do_not_come_up_slow_down_with_those_that_do() -> None:
    clock = Clock()
    seen = curve(clock)
    for _ in range(15):
        seen.add(1, 0.010)
    clock.now += 10
    for _ in range(15):
        seen.add(1, 0.030)

    assert seen.typical_s(64) == pytest.approx(3 * 0.073)
    for _ in range(15):
        seen.add(64, 0.100)
    assert seen.typical_s(64) == pytest.approx(0.100)
    assert seen.typical_s(1) == pytest.approx(0.030)


def test_more_rows_never_take_less() -> None:
    seen = curve()
    for _ in range(15):
        seen.add(32, 0.2)

    assert seen.likely_s(64) >= seen.likely_s(32) == pytest.approx(0.2)
    assert seen.rows_within(0.1, most=256) < 32
    assert seen.rows_within(0.001, most=256) == 1
    assert seen.rows_within(10.0, most=256) == 256

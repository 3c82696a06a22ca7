import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from drivetrain.monitoring.drift import indexes, smoothed, stability_index

SHARES = some.lists(some.integers(1, 1000), min_size=4, max_size=4).map(
    lambda counts: [count / sum(counts) for count in counts]
)


@given(given_before=SHARES, given_after=SHARES)
def test_the_index_is_that_of_its_formula(given_before: list[float], given_after: list[float]) -> None:
    before, after = np.array(given_before), np.array(given_after)

    assert stability_index(given_before, given_after) == pytest.approx(
        ((after - before) * np.log(after / before)).sum()
    )


@given(before=SHARES, after=SHARES)
def test_the_index_is_symmetric_and_never_negative(before: list[float], after: list[float]) -> None:
    assert stability_index(before, after) == pytest.approx(stability_index(after, before))
    assert stability_index(before, after) >= 0


def test_different_numbers_of_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        stability_index([1.0], [0.5, 0.5])


def test_an_empty_bin_gives_a_finite_index() -> None:
    assert 0 < stability_index([0.5, 0.5], [1.0, 0.0]) < 10


@given(counts=some.lists(some.integers(0, 1000), min_size=1, max_size=20))
def test_smoothed_shares_sum_to_one_and_none_is_empty(counts: list[int]) -> None:
    shares = smoothed(counts)

    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0


def test_a_short_window_of_the_same_distribution_rarely_alarms() -> None:
    random = np.random.default_rng(0)
    shares = np.full(11, 1 / 11)
    before = {"x": random.multinomial(20_000, shares).tolist()}

    found = [indexes(before, {"x": random.multinomial(200, shares).tolist()})["x"] for _ in range(1000)]

    assert np.mean(np.array(found) > 0.2) < 0.001

import numpy as np
import pytest

from drivetrain.monitoring.canary import Arm, arm_of, guard_errors, guard_inputs, judge

ROWS, LOOKS, TRIALS = 4_000, 40, 150


def outcomes(worse: float, *, seed: int) -> list[str]:
    """Return how a challenger comes out in many trials: its probabilities are off by `worse`, up or down."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(TRIALS):
        rates = random.beta(1, 4, ROWS)
        labels = random.random(ROWS) < rates
        is_challengers = random.random(ROWS) < 0.25
        off = np.where(is_challengers, worse * random.choice([-1, 1], ROWS), 0.0)
        loss = (np.clip(rates + off, 0, 1) - labels) ** 2
        found.append(tried(loss, is_challengers))
    return found


def tried(loss: np.ndarray, is_challengers: np.ndarray) -> str:
    for seen in np.linspace(ROWS / LOOKS, ROWS, LOOKS).astype(int):
        now, whose = loss[:seen], is_challengers[:seen]
        arms = [
            Arm(version=name, labels=len(rows), mean=float(rows.mean()), variance=float(rows.var(ddof=1)))
            for name, rows in (("m@1", now[~whose]), ("m@2", now[whose]))
        ]
        verdict = judge(arms[0], arms[1], metric="brier", at_least=100, is_over=bool(seen == ROWS))
        if verdict.outcome:
            return verdict.outcome
    raise AssertionError("a canary that is over must be decided")


def test_an_equal_challenger_is_rarely_rolled_back_however_often_it_is_looked_at() -> None:
    found = outcomes(0.0, seed=1)

    # The bound is 2 * (1 - 0.95); half of that again is what chance may add in so many trials.
    assert found.count("rolled_back") <= 0.15 * TRIALS


def test_a_much_worse_challenger_is_rolled_back() -> None:
    assert outcomes(0.3, seed=2).count("rolled_back") == TRIALS


def test_a_much_better_challenger_is_promoted_before_its_time_is_over() -> None:
    champion = Arm(version="m@1", labels=2_000, mean=0.20, variance=0.03)
    challenger = Arm(version="m@2", labels=500, mean=0.15, variance=0.03)

    verdict = judge(champion, challenger, metric="brier")

    assert verdict.outcome == "promoted"
    assert "brier 0.15 on 500 labels, where m@1 has 0.2 on 2,000" in verdict.reason
    assert verdict.evidence["labels_challenger"] == 500
    assert verdict.evidence["low"] < verdict.evidence["difference"] < verdict.evidence["high"] < 0


@pytest.mark.parametrize(
    ("is_over", "at_least", "outcome"), [(False, 500, ""), (True, 500, "rolled_back"), (True, 0, "promoted")]
)
def test_too_few_labels_decide_nothing_until_the_time_is_over(is_over: bool, at_least: int, outcome: str) -> None:
    verdict = judge(
        arm_of("m@1", [0.1] * 10), arm_of("m@2", [0.2] * 10), metric="brier", at_least=at_least, is_over=is_over
    )

    assert verdict.outcome == outcome


def test_losses_without_any_spread_can_be_judged() -> None:
    verdict = judge(arm_of("m@1", [0.0] * 600), arm_of("m@2", [0.0] * 600), metric="error_rate", is_over=True)

    assert verdict.outcome == "promoted"


def test_a_feature_that_is_missing_only_when_asked_is_named() -> None:
    verdict = guard_inputs(
        rows=500,
        missing={"minutes_past": 1.0, "gust": 0.8},
        missing_in_training={"minutes_past": 0.02, "gust": 0.75},
        missing_for_champion={"gust": 0.8},
    )

    assert verdict is not None
    assert "minutes_past is missing in 100% of 500 live rows and in 2.0% of the training rows" in verdict.reason
    assert "known only later" in verdict.reason


def test_a_source_that_is_down_for_both_arms_is_not_blamed_on_the_challenger() -> None:
    assert (
        guard_inputs(
            rows=500, missing={"wind": 1.0}, missing_in_training={"wind": 0.0}, missing_for_champion={"wind": 0.98}
        )
        is None
    )


@pytest.mark.parametrize(
    ("errors", "errors_before", "is_blamed"), [(50, 0, True), (50, 40, False), (3, 0, False), (0, 0, False)]
)
def test_errors_are_blamed_on_a_challenger_when_they_came_with_it(
    errors: int, errors_before: int, is_blamed: bool
) -> None:
    verdict = guard_errors(requests=1_000, errors=errors, requests_before=1_000, errors_before=errors_before)

    assert (verdict is not None) == is_blamed

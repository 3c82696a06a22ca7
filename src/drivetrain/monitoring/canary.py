"""The judge of a canary: is the challenger better or worse than the champion, and is there enough to say so?

Each entity is sent to one arm by a hash of its key, so the two arms are a randomised experiment, and the difference of
their mean losses is what the challenger would change. It is looked at again and again, as labels arrive. A usual test
at 5 % that is repeated every second calls nearly every equal challenger worse in the end, so the bounds are those of a
confidence sequence: with the given probability they hold at all looks together.

The sequence is the normal mixture of Robbins (1970) in its asymptotic form (Waudby-Smith, Arbour, Sinha, Kennedy and
Ramdas 2021, "Time-uniform central limit theory and asymptotic confidence sequences", theorem 2.2), with the variance of
the difference of two means after Neyman. It is tightest at the first look, and there 1.7 times as wide as the interval
of a single look; that is the price of looking whenever one likes.
"""

from __future__ import annotations

from math import log, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

# A challenger that is surely not worse by more than this share of the champion's loss need not prove to be better.
MARGIN = 0.05
# Below this the distribution of a mean is too far from normal for the bounds to hold.
FEWEST_LABELS = 20
# Fewer live rows than this say nothing about a feature's missing values.
ROWS_FOR_GUARDS = 100
# A feature that is missing in so much more of the live rows than of the training rows was not to be had in time.
MISSING_MORE = 0.5
# So many requests must have failed, and this share of all, before a challenger is blamed for it.
FEWEST_ERRORS = 5
ERROR_SHARE = 0.01


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """The losses of one version on the rows that it answered and whose label has arrived: number, mean, variance."""

    version: str
    labels: int
    mean: float = 0.0
    variance: float = 0.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with a challenger, why, and the figures behind it; an empty outcome is: go on."""

    outcome: Literal["promoted", "rolled_back", ""]
    reason: str
    evidence: dict[str, float]


def judge(
    champion: Arm,
    challenger: Arm,
    *,
    metric: str,
    at_least: int = 500,
    confidence: float = 0.95,
    is_over: bool = False,
) -> Verdict:
    """Return the verdict on a challenger from what is known by now; it may be asked any number of times.

    With `at_least` labels in each arm it is promoted once it is better, or not worse by more than `MARGIN` of the
    champion's loss; and rolled back once it is worse, each with `confidence` over all looks together. When the time of
    the canary `is_over`, one last look decides: rolled back if it is worse by a single test with the same
    confidence, else promoted, since the gate has found it good and live labels say nothing against it. With too few
    labels it is rolled back. An equal challenger is thus rolled back with a probability of at most
    `2 * (1 - confidence)`.

    >>> old = Arm(version="m@1", labels=2000, mean=0.20, variance=0.04)
    >>> judge(old, Arm(version="m@2", labels=600, mean=0.12, variance=0.03), metric="brier").outcome
    'promoted'
    >>> judge(old, Arm(version="m@2", labels=600, mean=0.30, variance=0.05), metric="brier").outcome
    'rolled_back'
    >>> judge(old, Arm(version="m@2", labels=600, mean=0.20, variance=0.04), metric="brier").outcome
    ''
    """
    smallest = max(FEWEST_LABELS, at_least)
    evidence: dict[str, float] = {
        "labels_champion": champion.labels,
        "labels_challenger": challenger.labels,
        f"{metric}_champion": champion.mean,
        f"{metric}_challenger": challenger.mean,
    }
    figures = (
        f"{metric} {challenger.mean:.4g} on {challenger.labels:,} labels, where {champion.version} has "
        f"{champion.mean:.4g} on {champion.labels:,}"
    )
    if min(champion.labels, challenger.labels) < smallest:
        if not is_over:
            return Verdict(outcome="", reason=f"fewer than {smallest:,} labels in an arm", evidence=evidence)
        if at_least == 0:
            return Verdict(
                outcome="promoted", reason="its time is over, and no labels were asked for", evidence=evidence
            )
        reason = (
            f"its time is over with {min(champion.labels, challenger.labels):,} labels in an arm, fewer than the "
            f"{smallest:,} that are needed to judge"
        )
        return Verdict(outcome="rolled_back", reason=reason, evidence=evidence)
    difference = challenger.mean - champion.mean
    variance = champion.variance / champion.labels + challenger.variance / challenger.labels
    planned = champion.variance / smallest + challenger.variance / smallest
    half = half_width(variance, planned=planned, error=2 * (1 - confidence))
    low, high = difference - half, difference + half
    evidence |= {"difference": difference, "low": low, "high": high, "confidence": confidence}
    interval = f"difference {difference:+.4g}, between {low:+.4g} and {high:+.4g}"
    margin = MARGIN * abs(champion.mean)
    if low > 0:
        return Verdict(outcome="rolled_back", reason=f"it is worse: {figures} ({interval})", evidence=evidence)
    if high < 0:
        return Verdict(outcome="promoted", reason=f"it is better: {figures} ({interval})", evidence=evidence)
    if high < margin:
        return Verdict(outcome="promoted", reason=f"it is not worse: {figures} ({interval})", evidence=evidence)
    if not is_over:
        return Verdict(outcome="", reason=f"{figures} ({interval})", evidence=evidence)
    if difference > NormalDist().inv_cdf(confidence) * sqrt(variance):
        return Verdict(
            outcome="rolled_back",
            reason=f"its time is over, and it is worse: {figures} ({interval})",
            evidence=evidence,
        )
    return Verdict(
        outcome="promoted",
        reason=f"its time is over, and nothing shows it worse: {figures} ({interval})",
        evidence=evidence,
    )


def half_width(variance: float, *, planned: float, error: float) -> float:
    """Return how far the truth may be from an estimate of this variance, at all looks together.

    `planned` is the variance at which the bound should be tightest; `error` the probability that it fails at any look.

    >>> round(half_width(0.01, planned=0.01, error=0.1), 3)
    0.276
    """
    if variance <= 0:
        return 0.0
    # rho solves the minimum of the boundary at `planned`, by the usual approximation of Lambert's W.
    wish = -2 * log(error)
    rho = (1 / max(planned, variance * 1e-6)) / (wish + log(wish + 1))
    ratio = rho * variance
    return sqrt(variance * (1 + ratio) * log((1 + ratio) / (ratio * error**2)))


def guard_inputs(
    *,
    rows: int,
    missing: Mapping[str, float],
    missing_in_training: Mapping[str, float],
    missing_for_champion: Mapping[str, float],
) -> Verdict | None:
    """Return that a challenger must go, where a feature that it learned from is not there when it is asked; else None.

    The shares of missing values are by feature: in its `rows` live ones, in its training rows, and in the live rows of
    the champion, where that has the feature.
    """
    if rows < ROWS_FOR_GUARDS:
        return None
    for name, live in missing.items():
        trained = missing_in_training.get(name, 0.0)
        # A source that is down empties the column in both arms, and a rollback would mend nothing.
        if live - trained < MISSING_MORE or missing_for_champion.get(name, 0.0) > live - MISSING_MORE / 2:
            continue
        reason = (
            f"the feature {name} is missing in {live:.0%} of {rows:,} live rows and in {trained:.1%} of the training "
            "rows: it looks like a value that is known only later; if so, name its column under `later` of the dataset"
        )
        evidence = {"rows": rows, "missing_live": live, "missing_in_training": trained}
        return Verdict(outcome="rolled_back", reason=reason, evidence=evidence)
    return None


def guard_errors(*, requests: int, errors: int, requests_before: int, errors_before: int) -> Verdict | None:
    """Return that a challenger must go, where the service fails far more often since it came; else None.

    `before` are the figures of about as long a time without it.
    """
    now, before = errors / max(requests, 1), errors_before / max(requests_before, 1)
    if errors < FEWEST_ERRORS or now < ERROR_SHARE or now < 3 * before:
        return None
    reason = f"{errors:,} of {requests:,} requests failed since it came ({now:.1%}), and {before:.1%} before"
    return Verdict(outcome="rolled_back", reason=reason, evidence={"error_share": now, "error_share_before": before})


def arm_of(version: str, losses: ArrayLike) -> Arm:
    """Return an arm from the loss of each row.

    >>> arm_of("m@1", [0.0, 1.0])
    Arm(version='m@1', labels=2, mean=0.5, variance=0.5)
    """
    found = np.asarray(losses, dtype=np.float64)
    if not len(found):
        return Arm(version=version, labels=0)
    variance = float(found.var(ddof=1)) if len(found) > 1 else 0.0
    return Arm(version=version, labels=len(found), mean=float(found.mean()), variance=variance)

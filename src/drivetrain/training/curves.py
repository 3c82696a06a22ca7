"""What is read from the curves of a classifier: areas under them, and how far probabilities are from the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION_BINS = 10


def area_under_roc(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Return the share of pairs, a positive and a negative, that the score orders rightly; a tie counts half.

    It is NaN when all rows are of one class.

    >>> area_under_roc(np.array([False, True, True]), np.array([0.1, 0.1, 0.9]))
    0.75
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    # The statistic of Mann and Whitney, with the mean rank of each group of equal scores.
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    ranks = np.cumsum(sizes) - (sizes - 1) / 2
    return float((ranks[group][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Return the precision averaged over the recall gained at each threshold; NaN without a positive row.

    >>> average_precision(np.array([False, True, True]), np.array([0.1, 0.2, 0.9]))
    1.0
    """
    positives = int(positive.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    # Only the last row of a group of equal scores is a threshold.
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    found = np.cumsum(positive[order])[last]
    precision, recall = found / (last + 1), found / positives
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def calibration_error(positive: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """Return the mean distance, over ten bins of equal width, between mean probability and the share of positives.

    Bins count by their rows (Naeini, Cooper and Hauskrecht 2015).

    >>> round(calibration_error(np.array([False, True]), np.array([0.2, 0.9])), 3)
    0.15
    """
    places = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    difference = np.bincount(places, weights=probability - positive, minlength=CALIBRATION_BINS)
    return float(np.abs(difference).sum() / len(positive))

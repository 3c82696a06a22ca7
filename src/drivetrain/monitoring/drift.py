"""How far a distribution has moved: the stability index of shares over the same bins, and that of many columns."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# An empty bin would make the logarithm infinite; this is less than one row in a million.
SMALLEST_SHARE = 1e-6


def stability_index(before: Sequence[float], after: Sequence[float]) -> float:
    """Return how far `after` has moved from `before`, as the population stability index.

    Both give the share of rows in each bin, in the same bin order, and sum to 1. The result has no unit: 0 means
    equal, and 0.2 is the usual alarm level.

    Raises:
        ValueError: the two have a different number of bins.

    >>> round(stability_index([0.5, 0.5], [0.4, 0.6]), 3)
    0.041
    """
    total = 0.0
    for old, new in zip(before, after, strict=True):
        old, new = max(old, SMALLEST_SHARE), max(new, SMALLEST_SHARE)
        total += (new - old) * log(new / old)
    return total


def smoothed(counts: Sequence[int]) -> list[float]:
    """Return the share of each bin, as if half a row more lay in each.

    Without it a rare bin that a short window happens not to hit would look like a large move (Krichevsky and Trofimov
    1981).

    >>> smoothed([3, 0])
    [0.875, 0.125]
    """
    total = sum(counts) + len(counts) / 2
    return [(count + 0.5) / total for count in counts]


def indexes(before: Mapping[str, Sequence[int]], after: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return the stability index of each column, from the rows in each bin; bins empty on both sides are left out.

    >>> indexes({"wind": [500, 500]}, {"wind": [500, 500]})
    {'wind': 0.0}
    """
    found = {}
    for name, new in after.items():
        pairs = [pair for pair in zip(before[name], new, strict=True) if any(pair)]
        old, recent = [[pair[side] for pair in pairs] for side in (0, 1)]
        found[name] = stability_index(smoothed(old), smoothed(recent))
    return found

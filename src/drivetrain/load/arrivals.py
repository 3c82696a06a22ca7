"""When requests are sent in an open loop: decided before the first one goes, whatever the server does."""

from __future__ import annotations

from itertools import count
from math import sqrt
from random import Random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Arrivals = Literal["constant", "poisson"]


def arrivals(rate: float, seconds: float, *, kind: Arrivals = "constant", ramp_s: float = 0.0) -> Iterator[float]:
    """Yield the seconds from the beginning at which requests are sent, `rate` a second, for so many seconds.

    `poisson` are independent clients: gaps that vary as theirs do. In the first `ramp_s` the rate grows from 0.

    >>> list(arrivals(4, 1))
    [0.0, 0.25, 0.5, 0.75]
    >>> len(list(arrivals(100, 2, ramp_s=2)))
    100
    """
    # What has been asked for by a moment: rate * t²/2ramp while it grows, and after that rate * (t - ramp/2).
    grown = rate * ramp_s / 2
    for place in _places(kind):
        moment = sqrt(2 * ramp_s * place / rate) if place < grown else place / rate + ramp_s / 2
        if moment >= seconds:
            return
        yield moment


def _places(kind: Arrivals) -> Iterator[float]:
    if kind == "constant":
        yield from map(float, count())
    random, place = Random(1), 0.0  # noqa: S311  # not a secret: the same moments each time
    while True:
        place += random.expovariate(1.0)
        yield place


def recorded(moments: Sequence[float], speed: float) -> Iterator[float]:
    """Yield when recorded requests are sent again: in their order and with their gaps, `speed` times as fast.

    >>> list(recorded([100.0, 101.0, 104.0], 2))
    [0.0, 0.5, 2.0]
    """
    for moment in moments:
        yield (moment - moments[0]) / speed

"""The highest rate that a server holds: bracketed, bisected, and confirmed."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING, Literal

import msgspec

from drivetrain.load.report import BUSY_SHARE, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivetrain.load.report import Slice

# Of 100 requests one may miss the limit: that is what a p99 says.
ALLOWED = 0.01
CONFIDENCE = 0.95
_Z = 1.645  # the one-sided quantile of the normal distribution at that confidence
# The search ends when the rate that held and the one that did not are this close.
_CLOSE = 1.05
_STEP = 1.5
_STEP_BACK = 0.85
_LOOKS = 3
_CONFIRMATIONS = 5
# With fewer requests than this, none of which missed, the confidence is not reached: 1.645² / 0.01.
_LEAST_REQUESTS = 300
_LEAST_RATE = 0.5
# A server falls behind if requests wait longer by more than this for each second that goes by.
_BEHIND = 0.02

Verdict = Literal["holds", "fails", "unsure"]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one rate; `missed_at_most` is the upper bound of the share that missed the limit."""

    rate: float
    verdict: Verdict
    seconds: float
    requests: int
    missed_share: float
    missed_at_most: float
    p99_ms: float


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The highest rate that held, in requests a second, 0 where none did; `fails_at` the lowest that did not.

    Held means: with the confidence, fewer than 1 in 100 requests were answered badly or later than the limit. Where
    `is_tool_limit`, the load tool could not send faster, and the server may hold more.
    """

    rate: float
    limit_ms: float
    fails_at: float | None
    confidence: float = CONFIDENCE
    is_tool_limit: bool = False
    probes: list[Probe] = []


def highest_rate(
    measure: Callable[[float, float], Report],
    *,
    limit_ms: float,
    start: float,
    seconds: float,
    tell: Callable[[Probe], None] = lambda _: None,
) -> tuple[Found, Report | None]:
    """Return the highest rate that a server holds, and the report of its confirmation.

    `measure` puts a rate on the server for so many seconds, with slices that say how many missed `limit_ms`. The search
    begins at the rate `start`.
    """
    probes: list[Probe] = []

    def looked(rate: float, length: float) -> tuple[Probe, Report]:
        probe, report = _probe(measure, rate, length)
        probes.append(probe)
        tell(probe)
        return probe, report

    low, high, rate, is_tool_limit = 0.0, inf, max(start, _LEAST_RATE), False
    while high > low * _CLOSE and rate >= _LEAST_RATE:
        probe, report = looked(rate, max(seconds, _LEAST_REQUESTS / rate))
        if probe.verdict != "holds":
            if is_tool_limit := report.processor_share > BUSY_SHARE and low > 0 and high == inf:
                high = rate
                break
            high = rate
        else:
            low = rate
        rate = low * _STEP if high == inf else sqrt(low * high) if low else high / 2
    confirmed: Report | None = None
    for _ in range(_CONFIRMATIONS if low else 0):
        probe, report = looked(low, 3 * max(seconds, _LEAST_REQUESTS / low))
        if probe.verdict == "holds":
            confirmed = report
            break
        high, low = low, low * _STEP_BACK
    found = Found(
        rate=low if confirmed else 0.0,
        limit_ms=limit_ms,
        fails_at=None if high == inf else high,
        is_tool_limit=is_tool_limit,
        probes=probes,
    )
    return found, confirmed


def _probe(measure: Callable[[float, float], Report], rate: float, seconds: float) -> tuple[Probe, Report]:
    """Put a rate on the server until it is plain whether it holds, and at most three times."""
    slices: list[Slice] = []
    spent, looks = 0.0, 0
    while True:
        report = measure(rate, seconds)
        looks += 1
        spent += report.seconds
        slices += report.slices
        told, share, most = verdict(slices)
        if falls_behind(report.slices):
            told = "fails"
        if told != "unsure" or looks == _LOOKS:
            break
    probe = Probe(
        rate=rate,
        verdict=told,
        seconds=spent,
        requests=sum(each.asked for each in slices),
        missed_share=share,
        missed_at_most=most,
        p99_ms=report.p99_ms,
    )
    return probe, report


def verdict(slices: Sequence[Slice]) -> tuple[Verdict, float, float]:
    """Return whether fewer than 1 in 100 missed the limit, their share, and the upper bound of that.

    Requests that meet the same stall miss together, so the bound is widened by how much more the shares of the slices
    differ than those of independent requests would (the design effect of a cluster sample). The bounds are Wilson's.

    >>> from drivetrain.load.report import Slice
    >>> verdict([Slice(at_s=0, asked=1000)])[0], verdict([Slice(at_s=0, asked=100)])[0]
    ('holds', 'unsure')
    """
    slices = [each for each in slices if each.asked]
    asked, missed = sum(each.asked for each in slices), sum(each.missed for each in slices)
    if not asked:
        return "unsure", 0.0, 1.0
    share = missed / asked
    effect = 1.0
    if 0 < missed < asked and len(slices) > 1:
        between = sum((each.missed - share * each.asked) ** 2 for each in slices) * len(slices) / (len(slices) - 1)
        effect = max(1.0, between / (asked * share * (1 - share)))
    count = asked / effect
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    if middle + half < ALLOWED:
        return "holds", share, middle + half
    return ("fails" if middle - half > ALLOWED else "unsure"), share, middle + half


def falls_behind(slices: Sequence[Slice]) -> bool:
    """Return whether requests waited longer and longer, which would end above any limit.

    >>> from drivetrain.load.report import Slice
    >>> falls_behind([Slice(at_s=second, asked=9, p50_ms=100 * second) for second in range(8)])
    True
    """
    slices = [each for each in slices if each.asked]
    if len(slices) < 8:
        return False
    quarter = len(slices) // 4
    first, last = slices[:quarter], slices[-quarter:]
    growth_ms = sum(each.p50_ms for each in last) / quarter - sum(each.p50_ms for each in first) / quarter
    return growth_ms / 1e3 > _BEHIND * (last[0].at_s - first[0].at_s)

"""A load test in the terminal: the times as a table and a histogram, the course over time, and what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivetrain.load.rate import Found, Probe
    from drivetrain.load.report import Bar, Report

_WIDTH = 40
_BARS = 14
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_LEAST_SHARE = 0.0005
_SIGNS = {"holds": "✓", "fails": "✗", "unsure": "?"}


def picture(report: Report) -> Iterator[str]:
    """Yield the lines of a picture of a load test."""
    failed = f"{report.failed:,} failed ({report.error_share:.2%})" if report.failed else "none failed"
    ended = "  (ended early)" if report.is_interrupted else ""
    yield (
        f"{report.requests:,} requests in {report.seconds:.1f} s, {failed}: "
        f"{report.requests_per_s:,.1f} answers a second{ended}"
    )
    if report.p50_ms:
        yield ""
        yield from _times(report)
    if len(report.slices) > 1:
        yield ""
        yield from _course(report)
    if report.failed:
        yield ""
        yield from _outcomes(report)


def _times(report: Report) -> Iterator[str]:
    names = {"p50": "p50_ms", "p90": "p90_ms", "p95": "p95_ms", "p99": "p99_ms", "p99.9": "p999_ms", "most": "max_ms"}
    yield "      ms  " + "".join(f"{name:>9}" for name in ("mean", *names))
    yield "          " + "".join(f"{_ms(getattr(report, name)):>9}" for name in ("mean_ms", *names.values()))
    yield ""
    bars = _drawn(report.bars)
    most = max(bar.count for bar in bars)
    for bar in bars:
        length = bar.count / most * _WIDTH
        drawn = "█" * int(length) + _EIGHTHS[int(length % 1 * 8)].strip()
        yield f"  {_ms(bar.from_ms):>8}  {drawn or ('▏' if bar.count else ''):<{_WIDTH}} {bar.count:,}".rstrip()


def _drawn(bars: Sequence[Bar]) -> list[Bar]:
    """Return fewer bars: neighbours are put together, and what hardly anything lies in, at both ends, as well."""
    from drivetrain.load.report import Bar

    total = sum(bar.count for bar in bars)
    first = next(place for place in range(len(bars)) if sum(b.count for b in bars[: place + 1]) > _LEAST_SHARE * total)
    last = next(
        place for place in range(len(bars), 0, -1) if sum(b.count for b in bars[place - 1 :]) > _LEAST_SHARE * total
    )
    step = -((first - last) // _BARS)
    groups = [bars[place : min(place + step, last)] for place in range(first, last, step)]
    if first:
        groups[0] = bars[: first + step]
    if last < len(bars):
        groups.append(bars[last:])
    return [
        Bar(from_ms=group[0].from_ms, to_ms=group[-1].to_ms, count=sum(bar.count for bar in group))
        for group in groups
        if group
    ]


def _course(report: Report) -> Iterator[str]:
    slices = report.slices
    length_s = slices[1].at_s - slices[0].at_s
    # The last stretch is seldom whole.
    whole = [each for each in slices if each.at_s + length_s <= report.seconds + 0.01] or slices
    rows = [
        ("answers a second", [each.answered / length_s for each in whole], "{:,.0f}"),
        ("p50 ms", [each.p50_ms for each in whole], "{:,.3g}"),
        ("p99 ms", [each.p99_ms for each in whole], "{:,.3g}"),
    ]
    if any(each.failed for each in slices):
        rows.append(("failures a second", [each.failed / length_s for each in whole], "{:,.0f}"))
    for name, values, form in rows:
        yield f"  {name:<18} {_line(values)}  {form.format(min(values))} to {form.format(max(values))}"


def _line(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return a curve that begins at 0; each sign is the most of what it stands for.

    >>> _line([1, 8, 4])
    '▁█▄'
    """
    step = -(-len(values) // width)
    thinned = [max(values[place : place + step]) for place in range(0, len(values), step)]
    most = max(thinned) or 1.0
    return "".join(_LEVELS[min(int(value / most * 8), 8) - 1 if value >= most / 8 else 0] for value in thinned)


def _outcomes(report: Report) -> Iterator[str]:
    for outcome, count in report.outcomes.items():
        example = " ".join(report.examples.get(outcome, "").split())
        shown = f"  {example[:100]}" if example else ""
        yield f"  {outcome:<12} {count:>9,}  {count / report.requests:>7.2%}{shown}".rstrip()


def told(probe: Probe, limit_ms: float) -> str:
    """Return the line of one rate that was tried."""
    missed = f"{probe.missed_share:.2%} above {limit_ms:g} ms"
    return (
        f"{_SIGNS[probe.verdict]} {probe.rate:>10,.1f}/s   p99 {_ms(probe.p99_ms):>8} ms   {missed:<22} "
        f"at most {probe.missed_at_most:.2%}, {probe.requests:,} requests"
    )


def conclusion(found: Found) -> Iterator[str]:
    """Yield what the search for the highest rate came to."""
    if not found.rate:
        yield f"no rate was found that holds a p99 of {found.limit_ms:g} ms"
        return
    fails = f"; {found.fails_at:,.1f}/s does not" if found.fails_at is not None else ""
    yield (
        f"{found.rate:,.1f} requests a second hold a p99 of {found.limit_ms:g} ms "
        f"with a confidence of {found.confidence:.0%}{fails}"
    )
    if found.is_tool_limit:
        yield "the load tool could not send faster: the server may hold more"


def _ms(value: float) -> str:
    """Return milliseconds in three digits that matter.

    >>> _ms(0.12345), _ms(12.345), _ms(1234.5)
    ('0.123', '12.3', '1,234')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"

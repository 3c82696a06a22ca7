"""Where the time of a request goes, in the terminal: a row and a bar for each stage, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.load.speed.trace import STAGES, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.load.speed.explanation import Explanation, Load

WORDS: dict[Stage, str] = {
    "way in": "network, HTTP server: way in",
    "admission": "admission",
    "body": "the body arrives",
    "decoding": "decoding and checks",
    "waiting": "waiting for the batch",
    "table": "rows as a table",
    "features": "features function",
    "model": "model",
    "answer": "answer as JSON",
    "log": "log",
    "counters": "counters",
    "turn": "its turn after the batch",
    "rest": "rest",
    "way out": "HTTP server, network: way out",
}
_WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def picture(found: Explanation) -> Iterator[str]:
    """Yield the lines of a picture."""
    because = f": {found.slow_because}" if found.slow_because else ""
    yield f"{found.version} of {found.service}, answering as {found.build}{because}"
    workers = f"{found.workers} worker" + ("s" if found.workers > 1 else "")
    yield f"{workers}, asked with {found.rows_from}; none of it is in the log"
    for load in found.loads:
        yield ""
        yield from _load(load)
    if found.batches:
        yield ""
        each = [f"{batch.rows} row{'s' if batch.rows > 1 else ''} {_ms(batch.ms)}" for batch in found.batches]
        yield f"a batch takes, in ms:  {'   '.join(each)}"


def _load(load: Load) -> Iterator[str]:
    connections = "1 connection" if load.connections == 1 else f"{load.connections} connections"
    rows = "batches of 1 row" if load.rows_a_batch < 1.05 else f"batches of {load.rows_a_batch:.1f} rows"
    busy = f"{load.processors:.0%} of a processor a worker"
    yield f"{connections}: {load.answers_per_s:,.0f} answers a second, {rows}, {busy}"
    yield ""
    yield f"  {'':<30}{'p50 µs':>8}{'':>7}  {'':<{_WIDTH}}{'p99 µs':>10}"
    most = max(load.p50.stages_us.values())
    for stage in STAGES:
        middle, slow = load.p50.stages_us[stage], load.p99.stages_us[stage]
        if middle or slow:
            length = max(middle, 0.0) / most * _WIDTH
            bar = "█" * int(length) + _EIGHTHS[int(length % 1 * 8)].strip()
            share, share_slow = f"{load.p50.share(stage):.1%}", f"{load.p99.share(stage):.1%}"
            yield f"  {WORDS[stage]:<30}{middle:>8,.0f}{share:>7}  {bar:<{_WIDTH}}{slow:>10,.0f}{share_slow:>7}"
    whole, slow = load.p50.whole_us, load.p99.whole_us
    yield f"  {'whole':<30}{whole:>8,.0f}{'100%':>7}  {'':<{_WIDTH}}{slow:>10,.0f}{'100%':>7}"
    plain, cost = load.plain_p50_us, load.timed_p50_us - load.plain_p50_us
    told = f"costs {cost:,.0f} µs" if cost > 0 else "costs less than the noise"
    yield f"  the stopwatch {told}: without it the median is {plain:,.0f} µs"
    if load.failures:
        yield "  not answered: " + ", ".join(f"{count:,} times {name}" for name, count in load.failures.items())
    yield from (f"! {doubt}" for doubt in load.doubts)


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

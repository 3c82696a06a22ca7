"""Counters of a service: each worker has its own in a small mapped file, and any process can read and sum them."""

from __future__ import annotations

import logging
import mmap
import os
from bisect import bisect_left
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING

import msgspec

from drivetrain.store.hold import first_free

if TYPE_CHECKING:
    from pathlib import Path

LOG = logging.getLogger("drivetrain.serving")
# Upper bounds of the latency buckets; the last bucket has all that is slower.
LATENCY_BOUNDS_S = (
    0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
# A worker that has not shown itself for so long is gone.
SILENT_S = 3.0
_NAMES = (
    "pid", "started_ns", "beat_ns", "answered_2xx", "answered_4xx", "answered_5xx", "rows", "rows_canary",
    "batches", "busy_ns", "latency_ns", "feedback", "log_failures", "log_failing", "swaps", "swap_failures",
    "ready", "turned_away", "expired", "streams", "streams_open", "streams_left", "pieces", "first_pieces",
    "tokens_in", "tokens_out", "first_piece_ns", "cache_hits", "cache_misses", "cache_collapsed", "cache_evictions",
    "cache_entries", "cache_bytes",
)  # fmt: skip
_PLACES = {name: place for place, name in enumerate(_NAMES)}
_ANSWERED = {hundreds: _PLACES[f"answered_{hundreds}xx"] for hundreds in (2, 4, 5)}
_BUCKETS = len(_NAMES)
_SIZE = 8 * (_BUCKETS + len(LATENCY_BOUNDS_S) + 1)
_BOUNDS_NS = tuple(int(bound * 1e9) for bound in LATENCY_BOUNDS_S)


class Totals(msgspec.Struct, kw_only=True):
    """What the workers of a service have done since its store was made: sums over all of them.

    `latency` has the number of requests in each bucket of `LATENCY_BOUNDS_S`, and those slower than all.
    """

    workers: int = 0
    workers_ready: int = 0
    workers_log_failing: int = 0
    answered_2xx: int = 0
    answered_4xx: int = 0
    answered_5xx: int = 0
    rows: int = 0
    rows_canary: int = 0
    batches: int = 0
    busy_s: float = 0.0
    latency_s: float = 0.0
    latency: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    feedback: int = 0
    log_failures: int = 0
    swaps: int = 0
    swap_failures: int = 0
    turned_away: int = 0
    expired: int = 0
    streams: int = 0
    streams_open: int = 0
    streams_left: int = 0
    pieces: int = 0
    first_pieces: int = 0
    first_piece_s: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_collapsed: int = 0
    cache_evictions: int = 0
    cache_entries: int = 0
    cache_bytes: int = 0
    pids: list[int] = []

    @property
    def requests(self) -> int:
        """All that was answered, refusals and failures included."""
        return self.answered_2xx + self.answered_4xx + self.answered_5xx

    @property
    def cache_known(self) -> int:
        """Rows that the model was spared."""
        return self.cache_hits + self.cache_collapsed

    @property
    def cache_rows(self) -> int:
        """All rows whose answer was looked for among those that are known."""
        return self.cache_known + self.cache_misses


class Counters:
    """The counters of this worker, in the first file `worker-N.counters` of the folder that no living worker holds.

    A worker that takes the place of a dead one counts on from where that one stopped, so that sums never fall.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.slot, self._handle = _place(folder)
            self._map = mmap.mmap(self._handle, _SIZE)
        except OSError as error:
            # Requests are answered all the same; only nobody else sees these counts.
            LOG.error("the counters are kept in memory alone: %s", error)
            self.slot, self._handle = -1, -1
            self._map = mmap.mmap(-1, _SIZE)
        self.values = memoryview(self._map).cast("q")
        self.set("pid", os.getpid())
        self.set("started_ns", time_ns())
        self.set("ready", 0)
        self.set("log_failing", 0)
        self.set("streams_open", 0)
        self.set("cache_entries", 0)
        self.set("cache_bytes", 0)
        self.beat()

    def add(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self.values[_PLACES[name]] += amount

    def set(self, name: str, value: int) -> None:
        """Set a gauge."""
        self.values[_PLACES[name]] = value

    def get(self, name: str) -> int:
        """Return this worker's own value."""
        return self.values[_PLACES[name]]

    def beat(self) -> None:
        """Show that the worker lives."""
        self.values[_PLACES["beat_ns"]] = time_ns()

    def answered(self, status: int, started_ns: int) -> None:
        """Count a request that was answered, by `monotonic_ns` of its arrival."""
        values, taken = self.values, monotonic_ns() - started_ns
        values[_ANSWERED[status // 100]] += 1
        values[_PLACES["latency_ns"]] += taken
        values[_BUCKETS + bisect_left(_BOUNDS_NS, taken)] += 1

    def close(self) -> None:
        """Give up the place; the file stays, for the worker that comes next."""
        self.set("beat_ns", 0)
        self.set("ready", 0)
        self.values.release()
        self._map.close()
        if self._handle >= 0:
            os.close(self._handle)


def _place(folder: Path) -> tuple[int, int]:
    """Return the number of the first file that nobody holds, and a handle that holds it."""
    number, handle = first_free(folder, "worker-{}.counters")
    if os.fstat(handle).st_size != _SIZE:
        os.ftruncate(handle, 0)
        # Written, not only lengthened: a full disk is found out here and not by a fault in the mapped memory.
        os.pwrite(handle, bytes(_SIZE), 0)
    return number, handle


def totals(folder: Path) -> Totals:
    """Return the sums over all workers of the service whose folder this is; zeros where none has ever run."""
    sums = Totals()
    for path in sorted(folder.glob("worker-*.counters")):
        data = path.read_bytes()
        if len(data) != _SIZE:
            continue
        values = memoryview(data).cast("q")
        at = {name: values[place] for name, place in _PLACES.items()}
        if time_ns() - at["beat_ns"] < SILENT_S * 1e9:
            sums.workers += 1
            sums.workers_ready += at["ready"]
            sums.workers_log_failing += at["log_failing"]
            sums.streams_open += at["streams_open"]
            sums.cache_entries += at["cache_entries"]
            sums.cache_bytes += at["cache_bytes"]
            sums.pids.append(at["pid"])
        for name in (
            "answered_2xx", "answered_4xx", "answered_5xx", "rows", "rows_canary", "batches", "feedback",
            "log_failures", "swaps", "swap_failures", "turned_away", "expired", "streams", "streams_left", "pieces",
            "first_pieces", "tokens_in", "tokens_out", "cache_hits", "cache_misses", "cache_collapsed",
            "cache_evictions",
        ):  # fmt: skip
            setattr(sums, name, getattr(sums, name) + at[name])
        sums.busy_s += at["busy_ns"] / 1e9
        sums.first_piece_s += at["first_piece_ns"] / 1e9
        sums.latency_s += at["latency_ns"] / 1e9
        sums.latency = [total + values[_BUCKETS + place] for place, total in enumerate(sums.latency)]
    return sums


def quantile_s(latency: list[int], share: float) -> float:
    """Return the latency that a share of the requests stays below, from the counts in the buckets.

    >>> quantile_s([0, 10] + [0] * 14, 0.5)
    0.000375
    """
    wanted, seen = share * sum(latency), 0
    if wanted == 0:
        return 0.0
    bounds = (0.0, *LATENCY_BOUNDS_S)
    for place, count in enumerate(latency):
        if count and seen + count >= wanted:
            low = bounds[place]
            high = bounds[place + 1] if place + 1 < len(bounds) else low
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return bounds[-1]


def exposition(sums: Totals, service: str, versions: dict[str, str]) -> str:
    """Return the counters as text that Prometheus reads; `versions` gives the version of each arm."""
    label = f'service="{service}"'
    lines: list[str] = []

    def family(name: str, kind: str, text: str, samples: dict[str, float]) -> None:
        lines.append(f"# HELP drivetrain_{name} {text}")
        lines.append(f"# TYPE drivetrain_{name} {kind}")
        lines.extend(f"drivetrain_{sample} {value:.17g}" for sample, value in samples.items())

    def single(name: str, kind: str, text: str, value: float) -> None:
        family(name, kind, text, {f"{name}{{{label}}}": value})

    family(
        "requests_total", "counter", "Requests answered, by class of status.",
        {f'requests_total{{{label},status="2xx"}}': sums.answered_2xx,
         f'requests_total{{{label},status="4xx"}}': sums.answered_4xx,
         f'requests_total{{{label},status="5xx"}}': sums.answered_5xx},
    )  # fmt: skip
    family(
        "rows_total", "counter", "Rows predicted, by arm.",
        {f'rows_total{{{label},arm="champion"}}': sums.rows - sums.rows_canary,
         f'rows_total{{{label},arm="canary"}}': sums.rows_canary},
    )  # fmt: skip
    single("batches_total", "counter", "Batches that the model was asked for.", sums.batches)
    single("feedback_total", "counter", "Labels that were sent.", sums.feedback)
    buckets, running = {}, 0
    for bound, count in zip((*LATENCY_BOUNDS_S, "+Inf"), sums.latency, strict=True):
        running += count
        buckets[f'request_seconds_bucket{{{label},le="{bound}"}}'] = float(running)
    buckets[f"request_seconds_sum{{{label}}}"] = sums.latency_s
    buckets[f"request_seconds_count{{{label}}}"] = float(running)
    family("request_seconds", "histogram", "Time from a request's arrival to its answer.", buckets)
    single("busy_seconds_total", "counter", "Time that workers spent predicting.", sums.busy_s)
    single("log_failures_total", "counter", "Rows and labels that could not be logged.", sums.log_failures)
    single("log_failing", "gauge", "Workers whose log cannot be written at the moment.", sums.workers_log_failing)
    single("turned_away_total", "counter", "Requests that could not have been answered in time.", sums.turned_away)
    single("expired_total", "counter", "Requests whose time was over before they were answered.", sums.expired)
    single("swaps_total", "counter", "Times that a worker began to answer with other versions.", sums.swaps)
    single("swap_failures_total", "counter", "Times that a version could not be loaded.", sums.swap_failures)
    single("streams_total", "counter", "Answers that were streamed.", sums.streams)
    single("streams_open", "gauge", "Streams that run at the moment.", sums.streams_open)
    single("streams_left_total", "counter", "Streams whose listener went away before their end.", sums.streams_left)
    single("stream_pieces_total", "counter", "Pieces that were streamed.", sums.pieces)
    family(
        "first_piece_seconds", "summary", "Time from a stream's start to its first piece.",
        {f"first_piece_seconds_sum{{{label}}}": sums.first_piece_s,
         f"first_piece_seconds_count{{{label}}}": sums.first_pieces},
    )  # fmt: skip
    family(
        "tokens_total", "counter", "Tokens that an engine read and wrote, as it says.",
        {f'tokens_total{{{label},direction="in"}}': sums.tokens_in,
         f'tokens_total{{{label},direction="out"}}': sums.tokens_out},
    )  # fmt: skip
    single("cache_hits_total", "counter", "Rows whose answer was known.", sums.cache_hits)
    single("cache_misses_total", "counter", "Rows that were looked for, and the model was asked.", sums.cache_misses)
    single("cache_collapsed_total", "counter", "Rows that waited for another's answer.", sums.cache_collapsed)
    single("cache_evictions_total", "counter", "Answers that made room for others.", sums.cache_evictions)
    single("cache_entries", "gauge", "Answers that are kept.", sums.cache_entries)
    single("cache_bytes", "gauge", "Memory that kept answers take.", sums.cache_bytes)
    single("workers", "gauge", "Workers that are alive.", sums.workers)
    single("workers_ready", "gauge", "Workers that have a version to answer with.", sums.workers_ready)
    family(
        "version_info", "gauge", "The version that answers, by arm.",
        {f'version_info{{{label},arm="{arm}",version="{version}"}}': 1 for arm, version in versions.items()},
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def merged(texts: list[str]) -> str:
    r"""Return texts of Prometheus as one: a family may stand in it only once.

    >>> merged(['# HELP a A.\na{x="1"} 2\n', '# HELP a A.\na{x="2"} 3\n']).splitlines()
    ['# HELP a A.', 'a{x="1"} 2', 'a{x="2"} 3']
    """
    families: dict[str, dict[str, None]] = {}
    for text in texts:
        lines: dict[str, None] = {}
        for line in text.splitlines():
            if line.startswith("# HELP"):
                lines = families.setdefault(line, {})
            lines[line] = None
    return "".join(f"{line}\n" for lines in families.values() for line in lines)

"""Where the time of requests goes: measured at one connection and at many, on a server that is thrown away."""

from __future__ import annotations

import tempfile
from collections import Counter
from math import ceil, floor
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from drivetrain.errors import DrivetrainError, NotFound
from drivetrain.load.bodies import bodies_of_version, examples_of, recent_bodies
from drivetrain.load.plan import Plan, Target
from drivetrain.load.process import carry_out
from drivetrain.load.speed.advice import conclusions
from drivetrain.load.speed.trace import STAGES, Stage, Traced, Worker
from drivetrain.load.stand import standing
from drivetrain.training.builds import builds_of
from drivetrain.training.builds.form import FORMS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivetrain.load.report import Report
    from drivetrain.registry.version import Version
    from drivetrain.serving.service import Terms
    from drivetrain.store.store import Store

    Tell = Callable[[str], None]

CONNECTIONS = 64
# Both servers are asked in turn, so that what else the machine does falls on both.
ROUNDS = 2
_LEAST_S, _MOST_S, _WARM_UP_S = 0.5, 2.5, 0.2
# In a round there should be so many requests, and so many of each connection, if that does not take too long.
_ENOUGH, _TURNS = 200, 3
# The requests about a quantile: as far to both sides of it, as a share of all.
_ABOUT_P50, _ABOUT_P99 = 0.05, 0.005

Times = dict[str, tuple[float, float]]


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """The stages of the requests about a quantile of the whole time, in microseconds: means, that sum to `whole_us`."""

    whole_us: float
    stages_us: dict[Stage, float]

    def share(self, *stages: Stage) -> float:
        """Return the share that some stages have of the whole."""
        return sum(self.stages_us.get(stage, 0.0) for stage in stages) / self.whole_us


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen while so many connections asked, each as soon as it was answered.

    `plain_p50_us` is the median of a server without the stopwatch, `timed_p50_us` of one with it, as clients see both,
    in the best round of each.
    `processors` is how many a worker kept busy.
    """

    connections: int
    requests: int
    answers_per_s: float
    rows_a_batch: float
    p50: Breakdown
    p99: Breakdown
    plain_p50_us: float
    timed_p50_us: float
    processors: float
    failures: dict[str, int] = {}
    doubts: list[str] = []


class BatchTime(msgspec.Struct, frozen=True, kw_only=True):
    """How long a batch of so many rows takes as a rule."""

    rows: int
    ms: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of a version's requests goes.

    `rows_from` says what was asked, and `slow_because` why no fast build answers. `batches` are in the order of their
    rows, and empty for a model that is awaited request by request.
    """

    service: str
    version: str
    build: str
    slow_because: str
    rows_from: str
    workers: int
    loads: list[Load]
    batches: list[BatchTime]
    conclusions: list[str] = []


def explain(
    store: Store, version: Version, terms: Terms, *, workers: int = 1, tell: Tell = lambda text: None
) -> Explanation:
    """Serve a version for a few seconds, ask it, and return where the time goes; `tell` is told what is being done.

    Nothing of it is seen by the service, its log or its monitor.

    Raises:
        DrivetrainError: the version cannot be loaded, or does not answer its own requests.
    """
    with tempfile.TemporaryDirectory(prefix="drivetrain-speed-") as name:
        folder = Path(name)
        tell("starting two servers")
        with (
            standing(store, version, terms, workers=workers) as plain,
            standing(store, version, terms, workers=workers, traces=folder) as timed,
        ):
            plain_at, timed_at = (Target(url=f"{url}/predict") for url in (plain, timed))
            rows_from, bodies = _requests(store, version, terms.name, plain_at)
            plan = Plan(target=plain_at, requests=bodies, warm_up_s=_WARM_UP_S, timeout_s=terms.timeout_s + 1)
            looks = [
                _look(plan, plain_at, timed_at, connections, folder, tell)
                for connections in sorted({1, min(CONNECTIONS, terms.max_concurrent, terms.max_streams)})
            ]
        seen = [msgspec.msgpack.decode(path.read_bytes(), type=Worker) for path in folder.glob("*.worker")]
    # What the curve says of other sizes than were seen is a guess; it goes by powers of two.
    sizes = {request.rows.bit_length() for worker in seen for request in worker.requests}
    found = Explanation(
        service=terms.name,
        version=version.id,
        build=seen[0].build,
        slow_because=slow_because(version, seen[0].build),
        rows_from=rows_from,
        workers=workers,
        loads=[_load(look, seen) for look in looks],
        batches=[
            BatchTime(rows=rows, ms=seconds * 1e3)
            for rows, seconds in sorted(seen[0].curve.items())
            if not seen[0].is_awaited and rows.bit_length() in sizes
        ],
    )
    return msgspec.structs.replace(found, conclusions=conclusions(found, version))


def slow_because(version: Version, build: str) -> str:
    """Return why a model that learnt from a table answers in its original form; empty where it does not."""
    if build in FORMS or version.signature.task == "values":
        return ""
    builds = builds_of(version.artifact)
    if builds is None:
        return f"no fast build is made of a model kept as {version.artifact.format}"
    if ready := builds.ranked():
        extra = FORMS[ready[0].form]
        return f"what its build {ready[0].form} needs is not installed here: `pip install 'drivetrain[{extra}]'`"
    return builds.why


def _requests(store: Store, version: Version, service: str, target: Target) -> tuple[str, list[bytes]]:
    """Return what is asked and where it comes from: the log, the dataset, or the signature."""
    if recent := recent_bodies(store, service, version.signature):
        return f"{len(recent):,} requests from the log of {service}", recent
    if version.dataset:
        try:
            rows = bodies_of_version(store, version)
            return f"{len(rows):,} rows of {version.dataset}", rows
        except NotFound:
            pass
    return "the example in the signature", examples_of(target)


class _Look(NamedTuple):
    """What the clients saw: of both servers, and when each prediction of the timed one was asked for and came."""

    connections: int
    plain: list[Report]
    timed: list[Report]
    times: Times
    periods: list[tuple[float, float]]


def _look(plan: Plan, plain: Target, timed: Target, connections: int, folder: Path, tell: Tell) -> _Look:
    told = "1 connection asks" if connections == 1 else f"{connections} connections ask"
    tell(f"{told}: how fast is it?")
    # At once, since a slow model answers many connections only after a while.
    first = carry_out(msgspec.structs.replace(plan, connections=connections, seconds=_LEAST_S, warm_up_s=0.0))
    _check(first)
    seconds = min(max(_ENOUGH, _TURNS * connections) / max(first.requests_per_s, 1.0), _MOST_S)
    plan = msgspec.structs.replace(plan, connections=connections, seconds=max(seconds, _LEAST_S))
    look = _Look(connections, [], [], {}, [])
    path = folder / "times"
    for turn in range(1, ROUNDS + 1):
        tell(f"{told}, round {turn} of {ROUNDS}")
        look.plain.append(carry_out(plan))
        began = perf_counter()
        look.timed.append(carry_out(msgspec.structs.replace(plan, target=timed, times_in=str(path))))
        look.periods.append((began, perf_counter()))
        _check(look.timed[-1])
        look.times.update(msgspec.msgpack.decode(path.read_bytes(), type=Times))
    return look


def _check(report: Report) -> None:
    if report.is_interrupted:
        raise KeyboardInterrupt
    if not report.answered:
        outcomes = ", ".join(f"{count:,} times {name}" for name, count in report.outcomes.items())
        example = " ".join(next(iter(report.examples.values()), "").split())
        raise DrivetrainError(f"no request was answered well: {outcomes}", remedy=example or "try one by hand")


def _load(look: _Look, workers: list[Worker]) -> Load:
    pairs = [
        (request, *look.times[request.id]) for worker in workers for request in worker.requests
        if request.id in look.times
    ]  # fmt: skip
    if not pairs:
        raise DrivetrainError("the servers noted none of their requests", remedy="report this, with what is served")
    pairs.sort(key=lambda pair: pair[2] - pair[1])
    failures: Counter[str] = Counter()
    for report in (*look.plain, *look.timed):
        failures.update({name: count for name, count in report.outcomes.items() if name != "200"})
    return Load(
        connections=look.connections,
        requests=len(pairs),
        answers_per_s=fmean(report.requests_per_s for report in look.plain),
        # A batch of many rows has many requests, each of which tells its size.
        rows_a_batch=len(pairs) / sum(1 / request.rows for request, _, _ in pairs),
        p50=_breakdown(pairs, 0.5, _ABOUT_P50),
        p99=_breakdown(pairs, 0.99, _ABOUT_P99),
        plain_p50_us=min(report.p50_ms for report in look.plain) * 1e3,
        timed_p50_us=min(report.p50_ms for report in look.timed) * 1e3,
        processors=fmean(_busy(worker, look.periods) for worker in workers),
        failures=dict(failures),
        doubts=sorted({doubt for report in look.plain for doubt in report.doubts()}),
    )


def _breakdown(pairs: Sequence[tuple[Traced, float, float]], quantile: float, about: float) -> Breakdown:
    """Return the mean stages of the requests about a quantile, of requests that are sorted by their whole time."""
    last = len(pairs) - 1
    chosen = pairs[floor(max(quantile - about, 0.0) * last) : ceil(min(quantile + about, 1.0) * last) + 1]
    sums: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
    for request, asked, came in chosen:
        sums["way in"] += request.began - asked
        sums["way out"] += came - request.ended
        for stage, seconds in request.spent.items():
            sums[stage] += seconds
    whole_s = sum(came - asked for _, asked, came in chosen)
    scale = 1e6 / len(chosen)
    return Breakdown(whole_us=whole_s * scale, stages_us={stage: s * scale for stage, s in sums.items()})


def _busy(worker: Worker, periods: Sequence[tuple[float, float]]) -> float:
    """Return how many processors a worker kept busy in some periods."""
    busy_s = length_s = 0.0
    for began, ended in periods:
        within = [(at, used) for at, used in worker.processor if began <= at <= ended]
        if len(within) > 1:
            busy_s += within[-1][1] - within[0][1]
            length_s += within[-1][0] - within[0][0]
    return busy_s / length_s if length_s else 0.0

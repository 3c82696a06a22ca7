"""What a server costs beside its model: ours, its peers, and as limits a bare granian with and without the model.

Four benchmarks: `serving` is one boosted model with 1 and 2 workers, with and without a features function;
`serving-models` three other models; `serving-peers` and `serving-peers-models` the same beside the peers.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from benchmarks.contender import CONNECTIONS, DURATION_S, Contender, Seen, tool
from benchmarks.measure import Sample, Unavailable, environment, number, table, versions
from benchmarks.workloads import (
    BENTOML,
    ECHO,
    FASTAPI,
    GRANIAN,
    KSERVE,
    LITSERVE,
    MLFLOW,
    MODELS,
    RAY,
    bentoml,
    fastapi,
    kserve,
    limit,
    litserve,
    mlflow,
    own,
    ray,
)

Start = Callable[[str], Contender]

OWN: dict[str, Start] = {
    "**drivetrain**, 1 worker": lambda model: own(model, 1),
    "**drivetrain**, 2 workers": lambda model: own(model, 2),
}
FEATURES: dict[str, Start] = {
    "**drivetrain**, polars features, 1 worker": lambda model: own(model, 1, has_features=True),
    "**drivetrain**, polars features, 2 workers": lambda model: own(model, 2, has_features=True),
}
HAND: dict[str, Start] = {
    "FastAPI by hand, 1 worker": lambda model: fastapi(model, 1),
    "FastAPI by hand, 2 workers": lambda model: fastapi(model, 2),
}
LIMITS: dict[str, Start] = {
    "limit: granian + onnxruntime": limit,
    ECHO: lambda model: limit(model, ECHO),
}
PEERS: dict[str, Start] = {
    "MLflow models serve": mlflow,
    "Ray Serve, batch 64": ray,
    "KServe python server": kserve,
    "BentoML, adaptive batching": bentoml,
    "LitServe, batch 64": litserve,
}
BASE = "FastAPI by hand, 2 workers"
_COMPARED = 64


@dataclass
class Found:
    """What every start of one contender has shown, or why there is nothing."""

    seen: list[Seen] = field(default_factory=list)
    problem: str = ""

    def sample(self, take: Callable[[Seen], float]) -> Sample:
        """Return one figure of every round."""
        return Sample(tuple(take(each) for each in self.seen))


def measure(rounds: int = 3) -> str:
    """Return the table of the boosted model."""
    return _measured(["boosted"], {**OWN, **FEATURES, **HAND, **LIMITS}, rounds)


def measure_models(rounds: int = 2) -> str:
    """Return a table for each of the other models."""
    starts = {**OWN, BASE: HAND[BASE], "limit: granian + onnxruntime": limit}
    return _measured(["logistic", "net", "image"], starts, rounds)


def measure_peers(rounds: int = 3) -> str:
    """Return the table of the boosted model beside the peers."""
    return _measured(["boosted"], {**OWN, BASE: HAND[BASE], **PEERS}, rounds)


def measure_peers_models(rounds: int = 1) -> str:
    """Return a table for each of the other models beside the peers."""
    first = "**drivetrain**, 1 worker"
    return _measured(["logistic", "net", "image"], {first: OWN[first], BASE: HAND[BASE], **PEERS}, rounds)


def _measured(models: Iterable[str], starts: Mapping[str, Start], rounds: int) -> str:
    tables, problems = [], []
    for model in models:
        found = {name: Found() for name in starts}
        for _ in range(rounds):
            for name, start in starts.items():
                _round(name, start, model, found[name])
        tables.append(_table(model, found))
        problems += [f"{name} ({model}): {each.problem}" for name, each in found.items() if each.problem]
    told = [f"- {problem}" for problem in problems]
    return "\n\n".join([*tables, *(["Not measured:\n\n" + "\n".join(told)] if told else []), _how(starts, rounds)])


def _round(name: str, start: Start, model: str, found: Found) -> None:
    if found.problem:
        return
    print(f"  {model}: {name} ...", flush=True)
    try:
        found.seen.append(start(model).measure())
    except Unavailable as error:
        found.problem = " ".join(str(error).split())[:400]
        print(f"  {name}: {found.problem}", flush=True)


def _table(model: str, found: Mapping[str, Found]) -> str:
    base = found.get(BASE)
    rows = []
    for name, each in found.items():
        if each.problem or not each.seen:
            rows.append([name, *"–" * (3 * len(CONNECTIONS) + 3)])
            continue
        cells = []
        for count in CONNECTIONS:
            rate = each.sample(lambda seen, count=count: seen.loads[count].requests_per_s)  # type: ignore[misc]
            p50 = each.sample(lambda seen, count=count: seen.loads[count].p50_ms)  # type: ignore[misc]
            p99 = each.sample(lambda seen, count=count: seen.loads[count].p99_ms)  # type: ignore[misc]
            errors = sum(seen.loads[count].errors for seen in each.seen)
            cells += [
                str(rate) + (_ratio(rate, base, count) if count == _COMPARED else "") + ("¹" if errors else ""),
                f"{number(p50.median)} / {number(p99.median)}",
            ]
        weights = [each.sample(lambda seen: seen.idle_mb), each.sample(lambda seen: seen.loaded_mb)]
        started = each.sample(lambda seen: seen.start_s)
        rows.append([name, *cells, *(number(weight.median) for weight in weights), number(started.median)])
    head = [MODELS[model]]
    for count in CONNECTIONS:
        head += [f"req/s at {count}", "p50 / p99 ms"]
    notes = (
        "\n\n¹ some requests were not answered well: the rate is without them, the times are of all."
        if any("¹" in cell for row in rows for cell in row)
        else ""
    )
    return table([*head, "MB idle", "MB after", "start s"], [row[: len(head) + 3] for row in rows]) + notes


def _ratio(rate: Sample, base: Found | None, count: int) -> str:
    if base is None or not base.seen:
        return ""
    of_base = base.sample(lambda seen: seen.loads[count].requests_per_s)
    return f", {rate.median / of_base.median:.2g}×"


def _how(starts: Mapping[str, Start], rounds: int) -> str:
    named = [(FASTAPI, ["fastapi", "uvicorn"]), (GRANIAN, ["granian", "onnxruntime", "scikit-learn", "torch"])]
    if PEERS.keys() & starts.keys():
        peers = {"mlflow": MLFLOW, "ray": RAY, "kserve": KSERVE, "bentoml": BENTOML, "litserve": LITSERVE}
        named += [(peer, [name]) for name, peer in peers.items()]
    return (
        f"× is to {BASE}. Median (range) of {rounds} rounds of {DURATION_S} s in turns on 1, 64 and 512 connections, "
        f"load from {tool()} on the same machine. Memory is of all processes of a server, with one model; `start` is "
        f"until the first answer. {', '.join(versions(environment(*peer), names) for peer, names in named)}. Ours is "
        "`drivetrain serve`: validated, with a prediction id, metrics and a log of what was asked and answered."
    )

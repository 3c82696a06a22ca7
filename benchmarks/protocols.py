"""What each protocol of our server costs beside its own: the boosted model, one row a request."""

import json
import shutil
from dataclasses import replace

from benchmarks.contender import DURATION_S, FOLDER, Contender, Seen, tool
from benchmarks.measure import PEERS, Sample, Unavailable, environment, number, run, table
from benchmarks.workloads import own, values_of

CONNECTIONS = (1, 64)
GRPC = ("grpc-client", ["grpcio==1.81.1", "protobuf>=6.33,<7"])


def bodies() -> dict[str, tuple[str, bytes]]:
    """Return the path and body of each protocol over HTTP/1.1."""
    values = values_of("boosted")
    names = [f"x{place}" for place in range(len(values))]
    columns = [
        {"name": name, "shape": [1], "datatype": "FP32", "data": [value]}
        for name, value in zip(names, values, strict=True)
    ]
    tensor = [{"name": "input", "shape": [1, len(values)], "datatype": "FP32", "data": values}]
    split = {"dataframe_split": {"columns": names, "data": [values]}}
    records = {"dataframe_records": [dict(zip(names, values, strict=True))]}
    return {
        "native, `/predict`": ("/predict", own("boosted").body),
        "Open Inference Protocol v2, a tensor a column": ("/v2/models/NAME/infer", _json({"inputs": columns})),
        "Open Inference Protocol v2, one tensor": ("/v2/models/NAME/infer", _json({"inputs": tensor})),
        "MLflow `/invocations`, dataframe_split": ("/invocations", _json(split)),
        "MLflow `/invocations`, dataframe_records": ("/invocations", _json(records)),
    }


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def measure(rounds: int = 3) -> str:
    """Return the table."""
    found: dict[str, list[Seen]] = {}
    problems: dict[str, str] = {}
    for _ in range(rounds):
        for name, (path, body) in bodies().items():
            if name not in problems:
                print(f"  {name} ...", flush=True)
                try:
                    found.setdefault(name, []).append(_seen(path, body))
                except Unavailable as error:
                    problems[name] = " ".join(str(error).split())[:300]
                    print(f"  {name}: {problems[name]}", flush=True)
    native = found.get("native, `/predict`", [])
    rows = []
    for name in bodies():
        if not found.get(name):
            rows.append([name, *"–" * 2 * len(CONNECTIONS)])
            continue
        cells = []
        for count in CONNECTIONS:
            rate, p50 = _sample(found[name], count, "requests_per_s"), _sample(found[name], count, "p50_ms")
            p99 = _sample(found[name], count, "p99_ms")
            base = _sample(native, count, "requests_per_s").median if native else rate.median
            cells += [f"{rate}, {rate.median / base:.2g}×", f"{number(p50.median)} / {number(p99.median)}"]
        rows.append([name, *cells])
    head = ["protocol"]
    for count in CONNECTIONS:
        head += [f"req/s at {count}", "p50 / p99 ms"]
    told = "".join(f"\n\nNot measured: {name}: {problem}" for name, problem in problems.items())
    how = (
        f"× is to the native protocol. Median (range) of {rounds} rounds of {DURATION_S} s in turns, 1 worker, load from "
        f"{tool()}."
    )
    return "\n\n".join([table(head, rows) + told, how, _grpc(rounds)])


def _seen(path: str, body: bytes) -> Seen:
    """Measure one protocol; the models of the Open Inference Protocol are named by the service, or by the model."""
    if "NAME" not in path:
        return _as(path, body).measure(CONNECTIONS)
    try:
        return _as(path.replace("NAME", "scored"), body).measure(CONNECTIONS)
    except Unavailable:
        return _as(path.replace("NAME", "service"), body).measure(CONNECTIONS)


def _as(path: str, body: bytes) -> Contender:
    return replace(own("boosted"), path=path, body=body, ready_s=20.0)


def _sample(seen: list[Seen], count: int, name: str) -> Sample:
    return Sample(tuple(getattr(each.loads[count], name) for each in seen))


def _grpc(rounds: int) -> str:
    """Return what a gRPC client sees, beside the same client's echo: it is the limit of what can be seen."""
    server = own("boosted")
    binaries = str(environment(*GRPC) / "python")
    shutil.copy(PEERS / "grpc_client.py", FOLDER)
    rows = []
    values = json.dumps(values_of("boosted"))
    port = 0
    try:
        for count in CONNECTIONS:
            rates = []
            for _ in range(rounds):
                contender = replace(server, argv=(*server.argv, "--grpc-port", "GRPC"))
                with contender.serve_with("GRPC") as port:
                    argv = [binaries, "grpc_client.py", str(port), "scored", values, str(count), str(DURATION_S)]
                    rates.append(json.loads(run(argv, cwd=FOLDER)))
            rate = Sample(tuple(each["requests_per_s"] for each in rates))
            p50 = Sample(tuple(each["p50_ms"] for each in rates))
            rows.append([f"gRPC, {count} calls at once", str(rate), number(p50.median)])
    except Unavailable as error:
        return f"gRPC was not measured: {' '.join(str(error).split())[:300]}"
    return table(["the client is Python's own, and is most of the time", "calls/s", "p50 ms"], rows)

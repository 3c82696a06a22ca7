"""What each protocol of our server costs beside its own: the boosted model, one row a request."""

import json
import shutil
import struct
from dataclasses import replace

from benchmarks.contender import DURATION_S, FOLDER, Contender, Seen, free_port, tool
from benchmarks.measure import PEERS, Sample, Unavailable, environment, number, run, table
from benchmarks.workloads import own, values_of

CONNECTIONS = (1, 64)
NATIVE = "native, `/predict`"
MODEL = "scored"
GRPC = ("grpc-client", ["tritonclient[grpc]==2.73.0"])


def protocols() -> dict[str, Contender]:
    """Return our server, asked by each protocol over HTTP/1.1."""
    values = values_of("boosted")
    names = [f"x{place}" for place in range(len(values))]
    columns = [
        {"name": name, "shape": [1], "datatype": "FP32", "data": [value]}
        for name, value in zip(names, values, strict=True)
    ]
    tensor = {"name": "input", "shape": [1, len(values)], "datatype": "FP32"}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 4 * len(values)}}]}).encode()
    row = dict(zip(names, values, strict=True))
    infer = f"/v2/models/{MODEL}/infer"
    native = replace(own("boosted"), ready_s=20.0)
    binary = replace(
        native,
        path=infer,
        body=head + struct.pack(f"<{len(values)}f", *values),
        headers={"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))},
    )

    def asked(path: str, body: object) -> Contender:
        return replace(native, path=path, body=json.dumps(body).encode())

    return {
        NATIVE: native,
        "Open Inference Protocol, a tensor a column": asked(infer, {"inputs": columns}),
        "Open Inference Protocol, one tensor": asked(infer, {"inputs": [{**tensor, "data": values}]}),
        "Open Inference Protocol, one binary tensor": binary,
        "MLflow, dataframe_split": asked("/invocations", {"dataframe_split": {"columns": names, "data": [values]}}),
        "MLflow, dataframe_records": asked("/invocations", {"dataframe_records": [row]}),
        "TensorFlow Serving and KServe V1": asked(f"/v1/models/{MODEL}:predict", {"instances": [row]}),
    }


def measure(rounds: int = 3) -> str:
    """Return the tables."""
    every = protocols()
    found: dict[str, list[Seen]] = {name: [] for name in every}
    problems: dict[str, str] = {}
    for _ in range(rounds):
        for name, contender in every.items():
            if name in problems:
                continue
            print(f"  {name} ...", flush=True)
            try:
                found[name].append(contender.measure(CONNECTIONS))
            except Unavailable as error:
                problems[name] = " ".join(str(error).split())[:300]
                print(f"  {name}: {problems[name]}", flush=True)
    told = [f"Not measured: {name}: {problem}" for name, problem in problems.items()]
    how = (
        f"× is to the native one. Median (range) of {rounds} rounds of {DURATION_S} s in turns, a row a request, "
        f"1 worker, load from {tool()}."
    )
    return "\n\n".join([_table(found), *told, how, _grpc(rounds)])


def _table(found: dict[str, list[Seen]]) -> str:
    rows = []
    for name, seen in found.items():
        if not seen:
            rows.append([name, *"–" * 2 * len(CONNECTIONS)])
            continue
        cells = []
        for count in CONNECTIONS:
            rate = _sample(seen, count, "requests_per_s")
            base = _sample(found[NATIVE], count, "requests_per_s").median if found[NATIVE] else rate.median
            p50, p99 = _sample(seen, count, "p50_ms"), _sample(seen, count, "p99_ms")
            cells += [f"{rate}, {rate.median / base:.2g}×", f"{number(p50.median)} / {number(p99.median)}"]
        rows.append([name, *cells])
    head = ["protocol"]
    for count in CONNECTIONS:
        head += [f"req/s at {count}", "p50 / p99 ms"]
    return table(head, rows)


def _sample(seen: list[Seen], count: int, name: str) -> Sample:
    return Sample(tuple(getattr(each.loads[count], name) for each in seen))


def _grpc(rounds: int) -> str:
    """Return what a gRPC client sees: Python's own, whose time is a part of each call."""
    client = str(environment(*GRPC) / "python")
    shutil.copy(PEERS / "grpc_client.py", FOLDER)
    values = json.dumps(values_of("boosted"))
    found: dict[int, list[dict[str, float]]] = {count: [] for count in CONNECTIONS}
    try:
        for _ in range(rounds):
            port = str(free_port())
            server = own("boosted")
            print("  gRPC ...", flush=True)
            with replace(server, argv=(*server.argv, "--grpc-port", port)).serve():
                for count, seen in found.items():
                    argv = [client, "grpc_client.py", port, MODEL, values, str(count), str(DURATION_S)]
                    seen.append(json.loads(run(argv, cwd=FOLDER)))
    except Unavailable as error:
        return f"gRPC was not measured: {' '.join(str(error).split())[:300]}"
    rows = []
    for count, seen in found.items():
        rate, p50, p99 = (Sample(tuple(each[name] for each in seen)) for name in ("requests_per_s", "p50_ms", "p99_ms"))
        rows.append([str(count), str(rate), f"{number(p50.median)} / {number(p99.median)}"])
    return table(["gRPC, calls at once on one connection", "calls/s", "p50 / p99 ms"], rows) + (
        "\n\nThe client is grpcio of Python on the same machine, and takes its part of the time: no comparison to wrk."
    )

"""What each protocol of our server costs beside its own: the boosted model, one row a request."""

import json
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path

from benchmarks.contender import DURATION_S, FOLDER, Contender, Seen, free_port, memory_mb, tool
from benchmarks.measure import PEERS, Sample, Unavailable, environment, number, run, table
from benchmarks.workloads import own, trained, values_of

CONNECTIONS = (1, 64)
NATIVE = "native, `/predict`"
MODEL = "scored"
GRPC = ("grpc-client", ["tritonclient[grpc]==2.73.0"])
TRITON = ("triton", ["nvidia-pytriton==0.7.0", "onnxruntime==1.32.0", "numpy"])
# What it ships for its models fails with some builds of Python 3.11; another one can be named.
TRITON_PYTHON = os.environ.get("TRITON_PYTHON", "/usr/bin/python3")


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


def servers(port: str) -> dict[str, Contender]:
    """Return what answers the Open Inference Protocol over gRPC at a port: ours, and Triton's own server."""
    own_server, values = own("boosted"), values_of("boosted")
    tensor = {"name": "input", "shape": [1, len(values)], "datatype": "FP32", "data": values}
    found = {"**drivetrain**": replace(own_server, argv=(*own_server.argv, "--grpc-port", port))}
    if Path(TRITON_PYTHON).exists():
        python = str(environment(*TRITON, python=TRITON_PYTHON) / "python")
        found["Triton 2.51, the model in its Python back end"] = Contender(
            name="triton",
            argv=(python, "serve_triton.py", "PORT", port),
            folder=trained(),
            path=f"/v2/models/{MODEL}/infer",
            body=json.dumps({"inputs": [tensor]}).encode(),
        )
    return found


def _grpc(rounds: int) -> str:
    """Return what a gRPC client sees: Python's own, whose time is a part of each call."""
    client = str(environment(*GRPC) / "python")
    shutil.copy(PEERS / "grpc_client.py", FOLDER)
    values = json.dumps(values_of("boosted"))
    found: dict[str, dict[int, list[dict[str, float]]]] = {}
    problems: dict[str, str] = {}
    for _ in range(rounds):
        port = str(free_port())
        for name, server in servers(port).items():
            seen = found.setdefault(name, {count: [] for count in CONNECTIONS})
            if name in problems:
                continue
            print(f"  gRPC, {name} ...", flush=True)
            try:
                with server.serve() as (_, pid, _):
                    for count, each in seen.items():
                        argv = [client, "grpc_client.py", port, MODEL, values, str(count), str(DURATION_S)]
                        each.append(json.loads(run(argv, cwd=FOLDER)) | {"mb": memory_mb(pid)})
            except Unavailable as error:
                problems[name] = " ".join(str(error).split())[:300]
                print(f"  {name}: {problems[name]}", flush=True)
    head = ["gRPC, the Open Inference Protocol"]
    for count in CONNECTIONS:
        head += [f"calls/s, {count} at once", "p50 / p99 ms"]
    rows = []
    for name, loads in found.items():
        cells = []
        for rounds_seen in loads.values():
            if not rounds_seen:
                cells += ["–", "–"]
                continue
            keys = ("requests_per_s", "p50_ms", "p99_ms")
            rate, p50, p99 = (Sample(tuple(each[key] for each in rounds_seen)) for key in keys)
            cells += [str(rate), f"{number(p50.median)} / {number(p99.median)}"]
        last = loads[CONNECTIONS[-1]]
        rows.append([name, *cells, number(Sample(tuple(each["mb"] for each in last)).median) if last else "–"])
    told = [f"Not measured: {name}: {problem}" for name, problem in problems.items()]
    if len(found) == 1:
        told.append(f"Triton was not measured: there is no {TRITON_PYTHON}; name another Python 3 with TRITON_PYTHON.")
    how = (
        "Each server gets the same bytes from the same client, grpcio of Python on one connection of the same machine, "
        "which takes its part of the time: no comparison to wrk. Triton is the server out of nvidia-pytriton, its "
        "batcher without a delay and one process for the model."
    )
    return "\n\n".join([table([*head, "MB"], rows), *told, how])

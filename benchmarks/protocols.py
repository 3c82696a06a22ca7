"""What a protocol costs: one row of 20 floats over REST and gRPC, asked of one server of ours, and of Triton's own.

The model is that of the serving benchmark. Triton is the server out of nvidia-pytriton, with the same ONNX model in its
Python back end; it takes and gives the same bytes. The load over gRPC comes from a Python client, which is slower than
wrk: its figures are bounds from below, and compare with each other.
"""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from benchmarks.measure import (
    PEERS,
    QUIET,
    SCRATCH,
    Sample,
    Unavailable,
    environment,
    number,
    ours,
    run,
    table,
    versions,
)
from benchmarks.serving import FOLDER, GRANIAN, ONNX, ROW, SKLEARN, SYSTEM, load, memory_mb
from drivetrain.serving.grpc.proto import Protos

IN_FLIGHT = (1, 64)
DURATION_S = 5
READY_S = 60.0
INFER = "/inference.GRPCInferenceService/ModelInfer"
PREDICT = "/drivetrain.service.Predictor/Predict"
CLIENT = ("grpc-client", ["grpcio", "uvloop"])
# Its stub fails with some builds of Python 3.11; another one can be named.
TRITON_PYTHON = os.environ.get("TRITON_PYTHON", "/usr/bin/python3")

Seen = dict[str, float]


def measure(rounds: int = 3) -> str:
    """Return a table for each number of requests in flight."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for script in PEERS.glob("serve_*.py"):
        shutil.copy(script, FOLDER)
    run([str(environment(*GRANIAN) / "python"), "serve_train.py"], cwd=FOLDER)
    found: dict[tuple[str, int], list[Seen]] = {}
    for _ in range(rounds):
        for name, server in (("drivetrain", drivetrain), ("Triton", triton)):
            try:
                with server() as asks:
                    for protocol, ask in asks.items():
                        for in_flight in IN_FLIGHT:
                            ask(in_flight, 1)
                            found.setdefault((f"{name}, {protocol}", in_flight), []).append(ask(in_flight, DURATION_S))
            except Unavailable as error:
                print(f"  {name}: {error}", flush=True)
    tables = [_table(found, in_flight) for in_flight in IN_FLIGHT]
    what = versions(environment(*CLIENT), ["grpcio"])
    return "\n\n".join(
        [
            *tables,
            f"Median (range) of {rounds} rounds of {DURATION_S} s in turns, one worker, load from the same machine: "
            f"over REST as in the table above, over gRPC from a client in Python ({what}), which costs as much of "
            "a processor as the server, about.",
        ]
    )


def _table(found: dict[tuple[str, int], list[Seen]], in_flight: int) -> str:
    rows = [
        [
            name,
            *(str(Sample(tuple(each[field] for each in seen))) for field in ("requests_per_s", "p50_ms", "p99_ms")),
            number(Sample(tuple(each["memory_mb"] for each in seen)).median),
        ]
        for (name, count), seen in found.items()
        if count == in_flight
    ]
    return table([f"{in_flight} in flight", "req/s", "p50 ms", "p99 ms", "MB"], rows)


class Ask:
    """Loads one method of a server."""

    def __init__(self, pid: int, address: str, path: str, message: bytes) -> None:
        self._pid, self._words = pid, [address, path, message.hex()]

    def __call__(self, in_flight: int, seconds: int) -> Seen:
        """Return what so many requests in flight saw."""
        argv = [str(environment(*CLIENT) / "python"), str(PEERS / "grpc_client.py"), *self._words]
        seen: Seen = json.loads(run([*argv, str(in_flight), str(seconds)]))
        return seen | {"memory_mb": memory_mb(self._pid)}


class AskRest:
    """Loads the REST side of a server."""

    def __init__(self, pid: int, url: str) -> None:
        self._pid, self._url = pid, url

    def __call__(self, in_flight: int, seconds: int) -> Seen:
        """Return what so many requests in flight saw."""
        rate, p50_ms, p99_ms = load(self._url, in_flight, seconds)
        return {"requests_per_s": rate, "p50_ms": p50_ms, "p99_ms": p99_ms, "memory_mb": memory_mb(self._pid)}


@contextlib.contextmanager
def drivetrain() -> Iterator[dict[str, Ask | AskRest]]:
    """Serve with ours, and give what loads each protocol."""
    binaries = ours("drivetrain-protocols", *SKLEARN, *ONNX, "grpcio")
    folder = _project(binaries)
    http, port = _free_port(), _free_port()
    argv = [str(binaries / "drivetrain"), "serve", "--port", str(http), "--grpc-port", str(port), "--workers", "1"]
    with _running(argv, folder, port) as pid:
        address = f"127.0.0.1:{port}"
        text = run([str(binaries / "drivetrain"), "client", "--proto", "--output", "/dev/stdout"], cwd=folder)
        row = Protos({"service.proto": text[: text.rindex("}") + 1]}).message("drivetrain.service.Row")(**ROW)
        yield {
            "REST": AskRest(pid, f"http://127.0.0.1:{http}/predict"),
            "gRPC, typed": Ask(pid, address, PREDICT, row.SerializeToString()),
            "gRPC, Open Inference Protocol": Ask(pid, address, INFER, _tensor()),
        }


@cache
def _project(binaries: Path) -> Path:
    folder = SCRATCH / "protocols"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "system.py").write_text(SYSTEM.lstrip())
    run([str(binaries / "drivetrain"), "run"], cwd=folder)
    return folder


@contextlib.contextmanager
def triton() -> Iterator[dict[str, Ask | AskRest]]:
    """Serve with Triton, and give what loads it."""
    binaries = _triton_environment()
    http, port = _free_port(), _free_port()
    argv = [str(binaries / "python"), "serve_triton.py", str(http), str(port)]
    with _running(argv, FOLDER, port) as pid:
        yield {"gRPC, Open Inference Protocol": Ask(pid, f"127.0.0.1:{port}", INFER, _tensor())}


@cache
def _triton_environment() -> Path:
    folder = SCRATCH / "environments" / "triton"
    marker = folder / ".installed"
    if not marker.exists():
        if not Path(TRITON_PYTHON).exists():
            raise Unavailable(f"there is no {TRITON_PYTHON}; name another Python 3 with TRITON_PYTHON")
        run(["uv", "venv", "--quiet", "--clear", "--python", TRITON_PYTHON, str(folder)])
        python = str(folder / "bin" / "python")
        run(["uv", "pip", "install", "--quiet", "--python", python, "nvidia-pytriton", "onnxruntime", "numpy"])
        marker.touch()
    return folder / "bin"


@contextlib.contextmanager
def _running(argv: list[str], folder: Path, port: int) -> Iterator[int]:
    """Run a server until the block ends, and give its process once it listens on the port."""
    log = folder / "protocols.log"
    with log.open("w") as output:
        process = subprocess.Popen(argv, cwd=folder, env=QUIET, stdout=output, stderr=output)
    try:
        ends = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > ends:
                raise Unavailable(f"it does not listen; {log.read_text()[-400:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tensor() -> bytes:
    """Return the row as one tensor of the Open Inference Protocol."""
    text = (files("drivetrain.serving.grpc") / "open_inference.proto").read_text("utf-8")
    message = Protos({"open_inference.proto": text}).message("inference.ModelInferRequest")(model_name="boosted")
    message.inputs.add(name="x", datatype="FP64", shape=[1, len(ROW)])
    message.raw_input_contents.append(struct.pack(f"<{len(ROW)}d", *ROW.values()))
    return bytes(message.SerializeToString())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""Calls ModelInfer so many times at once: grpc_client.py PORT MODEL VALUES CALLS SECONDS; bytes are encoded once."""

import asyncio
import json
import struct
import sys
import time

import grpc
from tritonclient.grpc import service_pb2


async def call(method: grpc.aio.UnaryUnaryMultiCallable, request: bytes, until: float, times: list[float]) -> None:
    """Call until the time is over."""
    while (start := time.perf_counter()) < until:
        await method(request)
        times.append(time.perf_counter() - start)


async def main(port: str, model: str, values: list[float], calls: int, duration_s: float) -> None:
    """Print what was seen as JSON."""
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="input", datatype="FP32", shape=[1, len(values)])
    request = service_pb2.ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[struct.pack(f"<{len(values)}f", *values)]
    ).SerializeToString()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        await method(request, wait_for_ready=True, timeout=30)
        await call(method, request, time.perf_counter() + 1, [])
        times: list[float] = []
        until = time.perf_counter() + duration_s
        await asyncio.gather(*(call(method, request, until, times) for _ in range(calls)))
    times.sort()
    at = {"p50_ms": times[len(times) // 2] * 1e3, "p99_ms": times[int(len(times) * 0.99)] * 1e3}
    print(json.dumps({"requests_per_s": len(times) / duration_s, **at}))


asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))

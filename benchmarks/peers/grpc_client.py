"""Load over gRPC: ADDRESS PATH MESSAGE_IN_HEX IN_FLIGHT SECONDS; prints what it has seen as JSON.

Each of the calls in flight waits for its answer before it asks again; at most four connections carry them.
"""

import asyncio
import json
import sys
import time

import grpc
import uvloop

SERVER_IS_READY_S = 60


async def main(address: str, path: str, message: bytes, in_flight: int, seconds: float) -> None:
    """Ask, and print the rate and the times."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(min(in_flight, 4))]
    calls = [channel.unary_unary(path) for channel in channels]
    ready_by = time.monotonic() + SERVER_IS_READY_S
    for call in calls:
        while True:
            try:
                await call(message, wait_for_ready=True, timeout=SERVER_IS_READY_S)
                break
            except grpc.aio.AioRpcError:  # it listens, and has no model yet
                if time.monotonic() > ready_by:
                    raise
                await asyncio.sleep(0.2)
    times: list[float] = []
    ends = time.monotonic() + seconds

    async def ask(number: int) -> None:
        call = calls[number % len(calls)]
        while time.monotonic() < ends:
            began = time.perf_counter()
            await call(message)
            times.append(time.perf_counter() - began)

    began = time.monotonic()
    await asyncio.gather(*[ask(number) for number in range(in_flight)])
    taken = time.monotonic() - began
    times.sort()
    told = {
        "requests_per_s": len(times) / taken,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[int(len(times) * 0.99)] * 1e3,
    }
    print(json.dumps(told))
    for channel in channels:
        await channel.close()


uvloop.run(main(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))

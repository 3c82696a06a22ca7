"""A load that waits for each answer before it asks again: client.py URL BODY CONNECTIONS SECONDS."""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit


async def ask(host: str, port: int, request: bytes, until: float, times: list[float]) -> None:
    """Ask on one connection until the time is over."""
    reader, writer = await asyncio.open_connection(host, port)
    while (start := time.perf_counter()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 2"):
            raise SystemExit(f"an answer was an error: {head.decode()}")
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0]))
        times.append(time.perf_counter() - start)
    writer.close()


async def main(url: str, body: str, connections: int, duration_s: float) -> None:
    """Load a server of this machine, and print what was seen as JSON."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
    times: list[float] = []
    until = time.perf_counter() + duration_s
    await asyncio.gather(*(ask(host, port, request, until, times) for _ in range(connections)))
    times.sort()
    at = {"p50_ms": times[len(times) // 2] * 1e3, "p99_ms": times[int(len(times) * 0.99)] * 1e3}
    print(json.dumps({"requests_per_s": len(times) / duration_s, **at}))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))

"""A toy server whose delays, capacity and failures are known, in a process of its own: PORT KIND."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STALL_EVERY_S, STALL_S = 3.0, 0.6
SERVICE_S = 0.002
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Toy:
    """Answers requests by the name of its kind."""

    def __init__(self, kind: str) -> None:
        self.kind, self.count, self.began = kind, 0, 0.0
        self.seen: list[tuple[float, str]] = []
        self.one_at_a_time = asyncio.Lock()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                if head.startswith(b"GET /seen"):
                    data = json.dumps(self.seen).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data))
                    continue
                if not await self.answer(body, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, and return whether the connection stays."""
        self.count += 1
        self.began = self.began or time.monotonic()
        if self.kind == "stalls":  # for a while it answers nobody
            at = (time.monotonic() - self.began) % STALL_EVERY_S
            if at > STALL_EVERY_S - STALL_S:
                await asyncio.sleep(STALL_EVERY_S - at)
        elif self.kind == "queue":
            async with self.one_at_a_time:
                time.sleep(SERVICE_S)  # noqa: ASYNC251  # it is busy
                await asyncio.sleep(0)
        elif self.kind == "records":
            self.seen.append((time.monotonic(), body.decode()))
        elif self.kind == "chunks":
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n")
            await asyncio.sleep(0.001)
            writer.write(b"1\r\n}\r\n0\r\n\r\n")
            return True
        elif self.kind == "ends":
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n{}")
            return False
        elif self.kind == "fails":
            which = self.count % 10
            if which == 1:
                writer.write(b'HTTP/1.1 503 Busy\r\ncontent-length: 15\r\n\r\n{"error":"busy"}'[:-1])
                return True
            if which == 2:
                return False
            if which == 3:
                writer.write(b"this is no HTTP\r\n\r\n")
                return True
            if which == 4:
                await asyncio.sleep(60)
        writer.write(OK)
        return True


@contextmanager
def toy(kind: str) -> Iterator[str]:
    """Run a toy server while the block runs, and give its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(Path(__file__)), str(port), kind])
    try:
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        process.kill()
        process.wait()


async def main() -> None:
    server = await asyncio.start_server(Toy(sys.argv[2]).handle, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

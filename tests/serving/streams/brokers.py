"""Real brokers on ports of their own, and clients that are not ours to fill and read them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.serving.world import free_port, wait_until


class Broker(Protocol):
    """What the tests ask of a broker."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def make(self, *streams: str) -> None: ...
    def address(self, stream: str) -> str: ...
    def send(self, stream: str, bodies: list[tuple[str, bytes]]) -> None: ...
    def read(self, stream: str) -> list[tuple[str, bytes]]: ...
    def count(self, stream: str) -> int: ...


def program(name: str, folder: str = "/usr/sbin") -> str:
    """Return where a program is, or skip the test with the reason."""
    found = shutil.which(name) or shutil.which(name, path=folder)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Redis:
    """A Redis server that writes each change to its disk."""

    def __init__(self, folder: Path) -> None:
        self._redis = pytest.importorskip("redis")
        self._program, self._folder, self._port = program("redis-server"), folder, free_port()

    def start(self) -> None:
        command = [self._program, "--port", str(self._port), "--dir", str(self._folder), "--appendonly", "yes"]
        command += ["--appendfsync", "always", "--save", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._client = self._redis.Redis(port=self._port)
        wait_until(self._is_up, 20)

    def _is_up(self) -> bool:
        try:
            return bool(self._client.ping())
        except self._redis.ConnectionError:
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._client.close()
        self.kill()

    def make(self, *streams: str) -> None: ...

    def address(self, stream: str) -> str:
        return f"redis://127.0.0.1:{self._port}/{stream}"

    def send(self, stream: str, bodies: list[tuple[str, bytes]]) -> None:
        pipeline = self._client.pipeline()
        for key, body in bodies:
            pipeline.xadd(stream, {"data": body, "key": key})
        pipeline.execute()

    def count(self, stream: str) -> int:
        return int(self._client.xlen(stream))

    def read(self, stream: str) -> list[tuple[str, bytes]]:
        return [(fields[b"id"].decode(), fields[b"data"]) for _, fields in self._client.xrange(stream)]


class Nats:
    """A NATS server with JetStream on its disk."""

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("nats")
        self._program, self._folder, self._port = program("nats-server"), folder, free_port()

    def start(self) -> None:
        command = [self._program, "-a", "127.0.0.1", "-p", str(self._port), "-js", "-sd", str(self._folder)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(self._is_up, 20)

    def _is_up(self) -> bool:
        try:
            self._do(lambda stream: stream.account_info())
        except Exception:
            return False
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self.kill()

    def make(self, *streams: str) -> None:
        for each in streams:
            self._do(lambda stream, name=each: stream.add_stream(name=name.replace(".", "-"), subjects=[name]))

    def address(self, stream: str) -> str:
        return f"nats://127.0.0.1:{self._port}/{stream}"

    def send(self, stream: str, bodies: list[tuple[str, bytes]]) -> None:
        async def sent(jetstream: Any) -> None:
            for begin in range(0, len(bodies), 500):
                piece = bodies[begin : begin + 500]
                await asyncio.gather(*[jetstream.publish(stream, body, headers={"key": key}) for key, body in piece])

        self._do(sent)

    def count(self, stream: str) -> int:
        return int(self._do(lambda jetstream: jetstream.stream_info(stream.replace(".", "-"))).state.messages)

    def read(self, stream: str) -> list[tuple[str, bytes]]:
        async def read(jetstream: Any) -> list[tuple[str, bytes]]:
            told = await jetstream.stream_info(stream.replace(".", "-"))
            found = []
            for number in range(max(1, told.state.first_seq), told.state.last_seq + 1):
                each = await jetstream.get_msg(stream.replace(".", "-"), number)
                found.append((each.headers["Nats-Msg-Id"], each.data))
            return found

        found: list[tuple[str, bytes]] = self._do(read)
        return found

    def _do(self, asked: Any) -> Any:
        import nats

        async def done() -> Any:
            async def quiet(_: Exception) -> None: ...

            client = await nats.connect(
                f"nats://127.0.0.1:{self._port}", allow_reconnect=False, error_cb=quiet, connect_timeout=2
            )
            try:
                return await asked(client.jetstream(timeout=20))
            finally:
                await client.close()

        return asyncio.run(done())


BROKERS: dict[str, Any] = {"redis": Redis, "nats": Nats}

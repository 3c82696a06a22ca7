"""Redis streams: a consumer group in, and a stream out in which each id stands once."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from drivetrain.serving.streams.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivetrain.serving.streams.address import Address
    from drivetrain.serving.streams.message import Output

# What another consumer has had for so long without settling it is taken over: it is gone.
IDLE_S = 30.0
_CLAIM_EVERY_S = 5.0
# An id is remembered for so long; a message that is delivered again after that is written again.
REMEMBERED_S = 86_400
_ONCE = """
if redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[1]) then
  return redis.call('XADD', KEYS[1], '*', 'id', ARGV[2], 'key', ARGV[3], 'data', ARGV[4])
end
return false
"""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    # A server that is starting says that it is loading, and one that has lost its data has lost the group, too.
    except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ReadOnlyError) as error:
        raise ConnectionError(str(error)) from error
    except redis.ResponseError as error:
        if not str(error).startswith(("NOGROUP", "UNBLOCKED", "MASTERDOWN", "MISCONF", "OOM")):
            raise
        raise ConnectionError(str(error)) from error


def _client(where: Address) -> Any:
    return redis.Redis.from_url(where.server, socket_timeout=10, socket_connect_timeout=5, health_check_interval=30)


class RedisSource:
    """Reads as one consumer of a group: first what it had not settled before it ended, then what is new.

    A message has its row in the field `data`, and may have a `key`.
    """

    def __init__(self, client: Any, stream: str, group: str, consumer: str) -> None:
        self._client, self._stream, self._group, self._consumer = client, stream, group, consumer
        self._after: str | None = "0"
        self._claim_at = 0.0
        with _translated():
            try:
                client.xgroup_create(stream, group, id="0", mkstream=True)
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def fetch(self, limit: int, wait_s: float) -> list[Message]:
        with _translated():
            if self._after is not None:
                found = self._read(self._after, limit, None)
                if found:
                    self._after = found[-1][0].decode()
                    return self._messages(found, is_again=True)
                self._after = None
            if time.monotonic() >= self._claim_at:
                found = self._client.xautoclaim(
                    self._stream, self._group, self._consumer, int(IDLE_S * 1000), "0-0", limit
                )[1]
                if found:
                    return self._messages(found, is_again=True)
                self._claim_at = time.monotonic() + _CLAIM_EVERY_S
            return self._messages(self._read(">", limit, max(1, int(wait_s * 1000))), is_again=False)

    def _read(self, after: str, limit: int, block_ms: int | None) -> list[Any]:
        found = self._client.xreadgroup(self._group, self._consumer, {self._stream: after}, limit, block_ms)
        if not found:
            return []
        entries: list[Any] = found[0][1] if isinstance(found, list) else next(iter(found.values()))
        # The newest form of the protocol wraps the entries once more.
        return entries[0] if entries and isinstance(entries[0], list) else entries

    def _messages(self, entries: list[Any], *, is_again: bool) -> list[Message]:
        counts: dict[bytes, int] = {}
        if is_again and entries:
            pending = self._client.xpending_range(
                self._stream, self._group, entries[0][0], entries[-1][0], len(entries) * 2, self._consumer
            )
            counts = {each["message_id"]: each["times_delivered"] for each in pending}
        messages = []
        for name, fields in entries:
            if not fields:  # taken out of the stream since it was delivered: there is nothing to answer
                self._client.xack(self._stream, self._group, name)
                continue
            text = name.decode()
            body, key = fields.get(b"data"), fields.get(b"key", b"").decode(errors="replace")
            sent = int(text.partition("-")[0]) / 1000
            messages.append(Message(text, body, key, sent, is_again, counts.get(name, 1), name))
        return messages

    def settle(self, messages: Sequence[Message]) -> None:
        with _translated():
            self._client.xack(self._stream, self._group, *[message.token for message in messages])

    def lag(self) -> int:
        with _translated():
            for group in self._client.xinfo_groups(self._stream):
                if group["name"] == self._group.encode():
                    return int(group["pending"]) + int(group.get("lag") or 0)
        return 0

    def close(self) -> None:
        self._client.close()


class RedisSink:
    """Writes each id once within a day: the id is remembered in the same step that writes it."""

    def __init__(self, client: Any, stream: str) -> None:
        self._client, self._stream = client, stream
        with _translated():
            self._once = client.register_script(_ONCE)
            client.script_load(_ONCE)

    def write(self, outputs: Sequence[Output]) -> None:
        with _translated():
            pipeline = self._client.pipeline(transaction=False)
            for output in outputs:
                # The braces put the mark onto the same node of a cluster as the stream.
                keys = [self._stream, f"{{{self._stream}}}:id:{output.id}"]
                self._once(keys, [REMEMBERED_S, output.id, output.key, output.body], client=pipeline)
            pipeline.execute()

    def close(self) -> None:
        self._client.close()


def source(where: Address, *, group: str, consumer: str, batch: int) -> RedisSource:
    """Return a source that reads a stream."""
    return RedisSource(_client(where), where.stream, group, consumer)


def sink(where: Address) -> RedisSink:
    """Return a sink that writes to a stream."""
    return RedisSink(_client(where), where.stream)

"""NATS JetStream: a durable pull consumer in, and a subject out in which each id stands once."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import nats
import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig

from drivetrain.errors import UsageError
from drivetrain.serving.streams.message import Message

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

    from drivetrain.serving.streams.address import Address
    from drivetrain.serving.streams.message import Output

# What has not been settled for so long is delivered again, within the two minutes for which a stream knows its ids.
ACK_WAIT_S = 10.0
_ANSWER_S = 10.0


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except nats.js.errors.NoStreamResponseError as error:
        raise ConnectionError("no stream takes the subject, or JetStream is not ready") from error
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


class _Connection:
    """A connection with a loop of its own, which runs while something is asked of it."""

    def __init__(self, server: str) -> None:
        self._loop = asyncio.new_event_loop()
        with _translated():
            self.client: Any = self.run(nats.connect(server, connect_timeout=5, allow_reconnect=False, error_cb=_quiet))
        self.stream: Any = self.client.jetstream(timeout=_ANSWER_S)

    def run(self, asked: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(asked)

    def close(self) -> None:
        try:
            with _translated():
                self.run(self.client.close())
        except ConnectionError:
            pass  # it is gone already
        finally:
            self._loop.close()


async def _quiet(error: Exception) -> None:
    """What goes wrong is raised where it is asked for."""


class NatsSource:
    """Reads as one of those who share a durable consumer; what is not settled in ten seconds is given again."""

    def __init__(self, connection: _Connection, subject: str, group: str, batch: int) -> None:
        self._connection = connection
        config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S, max_ack_pending=batch)
        try:
            with _translated():
                self._subscription: Any = connection.run(
                    connection.stream.pull_subscribe(subject, durable=group, config=config)
                )
        except ConnectionError as error:
            connection.close()
            if isinstance(error.__cause__, nats.js.errors.NotFoundError):
                raise _no_stream(subject) from error
            raise

    def fetch(self, limit: int, wait_s: float) -> list[Message]:
        try:
            with _translated():
                found = self._connection.run(self._subscription.fetch(limit, timeout=wait_s))
        except ConnectionError as error:
            if isinstance(error.__cause__, TimeoutError) and self._connection.client.is_connected:
                return []
            raise
        return [self._message(each) for each in found]

    def _message(self, message: Any) -> Message:
        told = message.metadata
        count = int(told.num_delivered or 1)
        key = (message.headers or {}).get("key", "")
        name = f"{told.stream}:{told.sequence.stream}"
        return Message(name, message.data, key, told.timestamp.timestamp(), count > 1, count, message)

    def settle(self, messages: Sequence[Message]) -> None:
        async def settled() -> None:
            for message in messages:
                await message.token.ack()
            await self._connection.client.flush(timeout=_ANSWER_S)

        with _translated():
            self._connection.run(settled())

    def lag(self) -> int:
        with _translated():
            told = self._connection.run(self._subscription.consumer_info())
        return int(told.num_pending or 0) + int(told.num_ack_pending or 0)

    def close(self) -> None:
        self._connection.close()


class NatsSink:
    """Publishes with the id as the stream's own mark against doubles."""

    def __init__(self, connection: _Connection, subject: str) -> None:
        self._connection, self._subject = connection, subject
        try:
            with _translated():
                connection.run(connection.stream.find_stream_name_by_subject(subject))
        except ConnectionError as error:
            connection.close()
            if isinstance(error.__cause__, nats.js.errors.NotFoundError):
                raise _no_stream(subject) from error
            raise

    def write(self, outputs: Sequence[Output]) -> None:
        async def written() -> None:
            # Each is on its way, in this order, before the first is waited for.
            sent = [
                self._connection.stream.publish(
                    self._subject, output.body, headers={"Nats-Msg-Id": output.id} | _key(output)
                )
                for output in outputs
            ]
            await asyncio.gather(*sent)

        with _translated():
            self._connection.run(written())

    def close(self) -> None:
        self._connection.close()


def _no_stream(subject: str) -> UsageError:
    return UsageError(
        f"no stream of JetStream has the subject {subject!r}",
        remedy=f"make one, as with `nats stream add NAME --subjects {subject}`, or name another subject",
    )


def _key(output: Output) -> dict[str, str]:
    return {"key": output.key} if output.key else {}


def source(where: Address, *, group: str, consumer: str, batch: int) -> NatsSource:
    """Return a source that reads a subject."""
    return NatsSource(_Connection(where.server), where.stream, group, batch)


def sink(where: Address) -> NatsSink:
    """Return a sink that publishes to a subject."""
    return NatsSink(_Connection(where.server), where.stream)

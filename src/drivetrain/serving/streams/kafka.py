"""Kafka: a consumer group in, whose offsets are committed when the answers are out, and a topic out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from drivetrain.serving.streams.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivetrain.serving.streams.address import Address
    from drivetrain.serving.streams.message import Output

_ANSWER_S = 15.0


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise ConnectionError(str(error)) from error


class KafkaSource:
    """Reads the partitions that the group gives to this consumer; a key keeps its order, since it has one partition."""

    def __init__(self, settings: dict[str, Any], topic: str, batch: int) -> None:
        self._batch, self._topic = batch, topic
        # So many messages of a partition may have been answered before, without the commit that says so.
        self._unsure: dict[int, int] = {}
        with _translated():
            self._consumer: Any = Consumer(settings)
            self._consumer.subscribe([topic], on_assign=self._assigned)

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        self._unsure.update({each.partition: self._batch for each in partitions})

    def fetch(self, limit: int, wait_s: float) -> list[Message]:
        with _translated():
            first = self._consumer.poll(wait_s)
            if first is None:
                return []
            found = [first, *self._consumer.consume(limit - 1, 0)] if limit > 1 else [first]
        messages = []
        for each in found:
            if each.error() is not None:
                raise ConnectionError(str(each.error()))
            left = self._unsure.get(each.partition(), 0)
            self._unsure[each.partition()] = max(0, left - 1)
            name, key = f"{each.partition()}:{each.offset()}", (each.key() or b"").decode(errors="replace")
            messages.append(Message(name, each.value(), key, max(0, each.timestamp()[1]) / 1000, left > 0, 0, each))
        return messages

    def settle(self, messages: Sequence[Message]) -> None:
        last = {message.token.partition(): message.token for message in messages}
        offsets = [TopicPartition(each.topic(), each.partition(), each.offset() + 1) for each in last.values()]
        with _translated():
            self._consumer.commit(offsets=offsets, asynchronous=False)

    def lag(self) -> int:
        waiting = 0
        with _translated():
            for place in self._consumer.committed(self._consumer.assignment(), timeout=_ANSWER_S):
                low, high = self._consumer.get_watermark_offsets(place, timeout=_ANSWER_S)
                waiting += high - (place.offset if place.offset >= 0 else low)
        return int(waiting)

    def close(self) -> None:
        with _translated():
            self._consumer.close()


class KafkaSink:
    """Writes with the key, so that its order is kept; the header `id` is the mark by which a reader knows a double."""

    def __init__(self, settings: dict[str, Any], topic: str) -> None:
        self._topic = topic
        with _translated():
            self._producer: Any = Producer(settings)

    def write(self, outputs: Sequence[Output]) -> None:
        failures: list[str] = []

        def delivered(error: Any, _: Any) -> None:
            if error is not None:
                failures.append(str(error))

        with _translated():
            for output in outputs:
                headers = [("id", output.id.encode())] + ([("redelivered", b"1")] if output.is_again else [])
                key = output.key.encode() or None
                self._producer.produce(self._topic, output.body, key, headers=headers, on_delivery=delivered)
            left = self._producer.flush(_ANSWER_S)
        if failures or left:
            raise ConnectionError(failures[0] if failures else f"{left} answers are not at the broker")

    def close(self) -> None:
        with _translated():
            self._producer.flush(_ANSWER_S)


def source(where: Address, *, group: str, consumer: str, batch: int) -> KafkaSource:
    """Return a source that reads a topic."""
    settings = {
        "bootstrap.servers": where.server.removeprefix("kafka://"),
        "group.id": group,
        "client.id": consumer,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    return KafkaSource(settings, where.stream, batch)


def sink(where: Address) -> KafkaSink:
    """Return a sink that writes to a topic."""
    settings = {"bootstrap.servers": where.server.removeprefix("kafka://"), "enable.idempotence": True, "linger.ms": 0}
    return KafkaSink(settings, where.stream)

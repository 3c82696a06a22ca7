"""Kafka's own client on the cluster that it brings along for tests."""

from __future__ import annotations

import pytest

confluent_kafka = pytest.importorskip("confluent_kafka", reason="the extra kafka is not installed")

from drivetrain.serving.streams.kafka import KafkaSink, KafkaSource  # noqa: E402
from drivetrain.serving.streams.message import Message, Output  # noqa: E402


def read(source: KafkaSource, count: int) -> list[Message]:
    found: list[Message] = []
    for _ in range(40):
        found += source.fetch(10, 0.5)
        if len(found) >= count:
            break
    return found


def test_what_is_not_settled_is_given_again_and_keys_keep_their_order() -> None:
    # The cluster lives in this client, and its address is that of its brokers.
    cluster = confluent_kafka.Producer({"test.mock.num.brokers": 1})
    brokers = ",".join(f"{each.host}:{each.port}" for each in cluster.list_topics(timeout=10).brokers.values())
    settings = {
        "bootstrap.servers": brokers,
        "group.id": "answers",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 3000,
        "heartbeat.interval.ms": 500,
    }
    sink = KafkaSink({"bootstrap.servers": brokers, "enable.idempotence": True}, "orders")
    sink.write([Output(f"pred-{number}", b"%d" % number, f"k{number % 3}", False) for number in range(12)])

    first = KafkaSource(settings, "orders", 4)
    seen = read(first, 12)
    first.settle([each for each in seen if each.key == "k0"][:1])
    first.close()
    second = KafkaSource(settings, "orders", 4)
    again = read(second, 11)

    assert sorted(int(each.body or b"") for each in seen) == list(range(12))
    for key in ("k0", "k1", "k2"):
        numbers = [int(each.body or b"") for each in seen if each.key == key]
        assert numbers == sorted(numbers)
    assert {each.id for each in again} <= {each.id for each in seen}
    assert len(again) == 11
    assert any(each.is_again for each in again)
    assert second.lag() > 0
    second.settle(again)
    assert second.lag() == 0
    second.close()
    sink.close()
    assert [dict(each.token.headers())["id"].decode() for each in seen if each.body == b"5"] == ["pred-5"]

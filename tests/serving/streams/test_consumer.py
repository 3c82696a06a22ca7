"""A consumer between two streams of a real broker."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.serving.streams.brokers import BROKERS
from tests.serving.world import MODEL, ROOT, ROW, SERVICE, logged, promote, register, wait_until

from drivetrain.errors import UsageError
from drivetrain.serving.log import find_prediction
from drivetrain.serving.streams.address import address, sink_at, source_at
from drivetrain.serving.streams.message import Output
from drivetrain.serving.streams.state import StreamState, exposition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving.streams.brokers import Broker

    from drivetrain.store.store import Store


def bodies(count: int, begin: int = 0) -> list[tuple[str, bytes]]:
    return [
        (f"k{number % 7}", msgspec.json.encode({**ROW, "ticket": f"m-{number}", "distance": float(number % 300)}))
        for number in range(begin, begin + count)
    ]


def started(store: Store, broker: Broker) -> subprocess.Popen[bytes]:
    streams = [broker.address(name) for name in ("orders", "answers", "orders.dead")]
    command = [sys.executable, "-m", "tests.serving.streams.run_consumer", str(store.root), *streams]
    return subprocess.Popen(command, cwd=ROOT)


@contextmanager
def consuming(store: Store, broker: Broker) -> Iterator[subprocess.Popen[bytes]]:
    process = started(store, broker)
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


def count(broker: Broker, stream: str = "answers") -> int:
    return broker.count(stream)


def told(broker: Broker) -> list[dict[str, Any]]:
    return [msgspec.json.decode(body) for _, body in broker.read("answers")]


def test_messages_are_answered_in_order_logged_and_settled(store: Store, broker: Broker) -> None:
    promote(store, register(store, 1))
    broker.send("orders", bodies(150))

    with consuming(store, broker):
        wait_until(lambda: count(broker) == 150, 30)
        broker.send("orders", bodies(1, 150))
        wait_until(lambda: count(broker) == 151, 10)

        def lag() -> int:
            states = store.ledger.find(StreamState)
            return states[0].lag if states and states[0].answered == 151 else -1

        wait_until(lambda: lag() == 0, 10)

    answers, log = told(broker), logged(store)
    by_id = {row["id"]: row for row in log.iter_rows(named=True)}
    assert [by_id[each["id"]]["key"] for each in answers] == [f"m-{number}" for number in range(151)]
    assert all(by_id[each["id"]]["prediction"] == each["prediction"] for each in answers)
    assert {each["version"] for each in answers} == {f"{MODEL}@1"}
    assert [name for name, _ in broker.read("answers")] == [each["id"] for each in answers]
    assert find_prediction(store, answers[7]["id"]).key == "m-7"
    assert "drivetrain_stream_answered_total" in exposition(store.ledger, SERVICE)


def test_a_bad_message_is_put_aside_with_the_reason_and_holds_nobody_up(store: Store, broker: Broker) -> None:
    promote(store, register(store, 1))
    bad = [b"", b"nonsense", b"[]", b'{"stops": 1}', b"\xff", msgspec.json.encode({**ROW, "stops": "many"})]
    good = bodies(2)
    broker.send("orders", [good[0], *[("bad", each) for each in bad], good[1]])

    with consuming(store, broker):
        wait_until(lambda: count(broker) == 2 and count(broker, "orders.dead") == len(bad), 30)

    dead = [msgspec.json.decode(body) for _, body in broker.read("orders.dead")]
    assert all(each["error"] for each in dead)
    assert dead[-1]["problems"] == [{"row": 0, "field": "stops", "found": '"many"', "wanted": "a whole number"}]
    assert dead[1]["data"] == "nonsense"


def test_a_subject_without_a_stream_is_named_before_anything_is_answered(tmp_path: Path) -> None:
    broker = BROKERS["nats"](tmp_path)
    broker.start()
    try:
        broker.make("orders")
        with pytest.raises(UsageError, match=r"no stream of JetStream has the subject 'orders\.dead'"):
            sink_at(address(broker.address("orders.dead")))
    finally:
        broker.stop()


def test_a_message_that_is_given_again_gets_the_same_answer_and_is_written_once(store: Store, broker: Broker) -> None:
    promote(store, register(store, 1))
    where = address(broker.address("orders"))
    broker.send("orders", bodies(3))
    before = source_at(where, group="answers", consumer="gone-0", batch=64)
    assert len(before.fetch(3, 1.0)) == 3
    before.close()  # nothing was settled
    output = Output("pred-once", b"{}", "k", False)
    sink = sink_at(address(broker.address("answers")))

    sink.write([output])
    sink.write([output, output])
    sink.close()

    assert count(broker) == 1


def test_a_consumer_waits_for_a_champion_and_follows_it(store: Store, broker: Broker) -> None:
    broker.send("orders", bodies(5))
    with consuming(store, broker):
        time.sleep(2)
        assert count(broker) == 0
        promote(store, register(store, 1))
        wait_until(lambda: count(broker) == 5, 30)
        promote(store, register(store, 2))
        time.sleep(1.5)
        broker.send("orders", bodies(5, 5))
        wait_until(lambda: count(broker) == 10, 20)

    assert [each["version"] for each in told(broker)] == [f"{MODEL}@1"] * 5 + [f"{MODEL}@2"] * 5


def test_a_standstill_is_told_once_for_a_reason_and_its_end_too(
    store: Store, broker: Broker, capfd: pytest.CaptureFixture[str]
) -> None:
    promote(store, register(store, 1))
    broker.send("orders", bodies(5))
    with consuming(store, broker):
        wait_until(lambda: count(broker) == 5, 30)
        broker.kill()
        time.sleep(2)  # it is tried again three times meanwhile
        broker.start()
        broker.send("orders", bodies(5, 5))
        wait_until(lambda: count(broker) >= 10, 30)

    said = [line for line in capfd.readouterr().err.splitlines() if "the stream " in line]
    assert "at a standstill" in said[0]
    assert said[-1].endswith("the stream goes on")
    assert len(set(said)) == len(said), said


@pytest.mark.slow
def test_a_broker_that_is_away_for_a_while_is_waited_for(store: Store, broker: Broker) -> None:
    promote(store, register(store, 1))
    broker.send("orders", bodies(300))
    with consuming(store, broker):
        wait_until(lambda: count(broker) > 0, 30)
        broker.kill()
        time.sleep(1)
        broker.start()
        broker.send("orders", bodies(100, 300))
        wait_until(lambda: count(broker) >= 400, 60)

    assert_once(store, broker, 400)


def assert_once(store: Store, broker: Broker, messages: int) -> None:
    answers, log = told(broker), logged(store)
    assert len({each["message"] for each in answers}) == len(answers) == messages
    assert sorted(log["id"]) == sorted(each["id"] for each in answers)
    right = dict(zip(log["id"], log["prediction"], strict=True))
    assert all(right[each["id"]] == each["prediction"] for each in answers)
    assert sorted(log["key"]) == sorted(f"m-{number}" for number in range(messages))


def killed_at_random(store: Store, broker: Broker, messages: int, kills: int) -> None:
    promote(store, register(store, 1))
    chance = random.Random(7)
    broker.send("orders", bodies(messages))
    process = started(store, broker)
    try:
        for _ in range(kills):
            before = count(broker)
            wait_until(lambda before=before: count(broker) > before, 60)
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
            process.wait()
            process = started(store, broker)
        wait_until(lambda: count(broker) >= messages, 200)
    finally:
        process.terminate()
        # Its predecessor may have done everything, so that it is ended before it has come up.
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)


def test_nothing_is_lost_or_doubled_when_a_consumer_is_killed(store: Store, broker: Broker) -> None:
    killed_at_random(store, broker, 1500, 1)

    assert_once(store, broker, 1500)


@pytest.mark.slow
def test_of_ten_thousand_messages_none_is_lost_or_doubled_however_often_a_consumer_is_killed(
    store: Store, broker: Broker
) -> None:
    killed_at_random(store, broker, 10_000, 8)

    assert_once(store, broker, 10_000)

"""Google Pub/Sub, on Google's own emulator."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.serving.world import free_port

pubsub_v1 = pytest.importorskip("google.cloud.pubsub_v1", reason="the extra pubsub is not installed")

from drivetrain.errors import UsageError  # noqa: E402
from drivetrain.serving.streams.address import address, sink_at, source_at  # noqa: E402
from drivetrain.serving.streams.message import Output  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

EMULATOR = Path("/usr/lib/google-cloud-sdk/platform/pubsub-emulator/bin/cloud-pubsub-emulator")


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not EMULATOR.exists():
        pytest.skip("the emulator of Pub/Sub is not installed")
    port = free_port()
    process = subprocess.Popen(
        [str(EMULATOR), "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=tmp_path,
    )
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
    try:
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        topic = publisher.topic_path("project", "orders")
        end = time.monotonic() + 60
        while True:
            try:
                publisher.create_topic(request={"name": topic}, timeout=5, retry=None)
                break
            except Exception:
                assert time.monotonic() < end, "the emulator did not come up"
                time.sleep(0.5)
        subscriber.create_subscription(
            request={
                "name": subscriber.subscription_path("project", "orders"),
                "topic": topic,
                "enable_message_ordering": True,
                "ack_deadline_seconds": 10,
            }
        )
        subscriber.close()
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_messages_are_given_in_the_order_of_their_key_and_settled(emulator: None) -> None:
    sink = sink_at(address("pubsub://project/orders"))
    sink.write([Output(f"pred-{number}", b"%d" % number, f"k{number % 2}", False) for number in range(6)])
    source = source_at(address("pubsub://project/orders"), group="g", consumer="c", batch=10)

    found = []
    for _ in range(20):
        given = source.fetch(10, 1.0)
        found += given
        if given:
            source.settle(given)
        if len(found) >= 6:
            break

    for key in ("k0", "k1"):
        numbers = [int(each.body or b"") for each in found if each.key == key]
        assert numbers == sorted(numbers)
    assert sorted(int(each.body or b"") for each in found) == list(range(6))
    assert source.fetch(10, 1.0) == []
    source.close()
    with pytest.raises(UsageError):
        source_at(address("pubsub://project/nothing"), group="g", consumer="c", batch=1).fetch(1, 1.0)

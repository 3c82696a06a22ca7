"""Google Pub/Sub: a subscription in, and a topic out."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, NotFound, RetryError
from google.cloud import pubsub_v1

from drivetrain.errors import UsageError
from drivetrain.serving.streams.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivetrain.serving.streams.address import Address
    from drivetrain.serving.streams.message import Output

_ANSWER_S = 15.0
# What is older than the shortest time that a subscription waits for an answer may have been delivered before.
_FRESH_S = 8.0


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise UsageError(
            error.message, remedy="make it first: `gcloud pubsub topics create`, or subscriptions"
        ) from error
    except (GoogleAPICallError, RetryError, Late) as error:
        raise ConnectionError(str(error)) from error


class PubSubSource:
    """Pulls from a subscription; with ordering keys on, the broker keeps the order of each key."""

    def __init__(self, client: Any, subscription: str) -> None:
        self._client, self._subscription = client, subscription
        self._waiting = 0

    def fetch(self, limit: int, wait_s: float) -> list[Message]:
        try:
            with _translated():
                asked = {"subscription": self._subscription, "max_messages": limit}
                found = self._client.pull(request=asked, timeout=max(1.0, wait_s), retry=None).received_messages
        except ConnectionError as error:
            if isinstance(error.__cause__, DeadlineExceeded):
                self._waiting = 0
                return []
            raise
        self._waiting = len(found)
        messages = []
        for each in found:
            told, sent = each.message, each.message.publish_time.timestamp()
            is_again = each.delivery_attempt > 1 or time.time() - sent > _FRESH_S
            messages.append(
                Message(
                    told.message_id, told.data, told.ordering_key, sent, is_again, each.delivery_attempt, each.ack_id
                )
            )
        return messages

    def settle(self, messages: Sequence[Message]) -> None:
        names = [message.token for message in messages]
        with _translated():
            self._client.acknowledge(request={"subscription": self._subscription, "ack_ids": names}, timeout=_ANSWER_S)

    def lag(self) -> int:
        """Return how many the last pull gave: what waits is told by Cloud Monitoring alone."""
        return self._waiting

    def close(self) -> None:
        self._client.close()


class PubSubSink:
    """Publishes with the key; the attribute `id` is the mark by which a reader knows a double."""

    def __init__(self, client: Any, topic: str) -> None:
        self._client, self._topic = client, topic

    def write(self, outputs: Sequence[Output]) -> None:
        with _translated():
            sent = []
            for output in outputs:
                marks = {"id": output.id} | ({"redelivered": "1"} if output.is_again else {})
                sent.append(self._client.publish(self._topic, output.body, ordering_key=output.key, **marks))
            for each in sent:
                each.result(timeout=_ANSWER_S)

    def close(self) -> None:
        self._client.stop()


def source(where: Address, *, group: str, consumer: str, batch: int) -> PubSubSource:
    """Return a source that pulls from a subscription, which is what a group is elsewhere."""
    project = where.server.removeprefix("pubsub://")
    client: Any = pubsub_v1.SubscriberClient()
    return PubSubSource(client, client.subscription_path(project, where.stream))


def sink(where: Address) -> PubSubSink:
    """Return a sink that publishes to a topic."""
    project = where.server.removeprefix("pubsub://")
    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    client: Any = pubsub_v1.PublisherClient(publisher_options=options)
    return PubSubSink(client, client.topic_path(project, where.stream))

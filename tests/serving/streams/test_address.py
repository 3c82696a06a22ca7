"""Addresses of streams, and ids that follow from messages."""

from __future__ import annotations

import pytest

from drivetrain.errors import UsageError
from drivetrain.serving.journal import time_of
from drivetrain.serving.streams.address import address
from drivetrain.serving.streams.message import Message, prediction_id


@pytest.mark.parametrize(
    "text", ["", "orders", "redis://", "redis://host", "redis:///orders", "rabbit://host/orders", "http://host/orders"]
)
def test_an_address_that_means_no_stream_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        address(text)

    assert refused.value.remedy


def test_an_id_follows_from_the_message_and_tells_when_it_was_sent() -> None:
    message = Message("1-0", b"{}", "k", 1_764_050_000.123, False, 1, None)

    seen = prediction_id("answers", "redis/orders", message)

    assert seen == prediction_id("answers", "redis/orders", message._replace(is_again=True, body=b"", deliveries=3))
    assert time_of(seen) == 1_764_050_000.123
    others = [
        prediction_id("other", "redis/orders", message),
        prediction_id("answers", "redis/other", message),
        prediction_id("answers", "redis/orders", message._replace(id="1-1")),
    ]
    assert len({seen, *others}) == 4

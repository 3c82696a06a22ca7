"""What comes from a broker and goes back to one, and the contract that each vendor's file fulfils."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from drivetrain.serving.journal import letters

if TYPE_CHECKING:
    from collections.abc import Sequence


class Message(NamedTuple):
    """One message: `body` is a row as JSON, or None where it has none; it was sent `at`, in seconds since 1970.

    `id` is the broker's own and stays the same however often it is delivered; `is_again` says that it may have been
    delivered before, and `deliveries` how often, 0 where the broker does not tell. `token` is what settles it.
    """

    id: str
    body: bytes | None
    key: str
    at: float
    is_again: bool
    deliveries: int
    token: Any


class Output(NamedTuple):
    """One answer on its way out; a sink that can writes each `id` once, and any other marks it with that id."""

    id: str
    body: bytes
    key: str
    is_again: bool


class Aside(NamedTuple):
    """A message that is put aside, as what is written for it, with the broker's id and the reason for people."""

    output: Output
    message: str
    reason: str


class Source(Protocol):
    """Gives the messages of a stream to one consumer of a group; what is not settled is given again.

    What goes wrong with the connection raises ConnectionError: the consumer then makes a new source.
    """

    def fetch(self, limit: int, wait_s: float) -> list[Message]:
        """Return what waits, in order, at once; up to so many, and none when there was none for so long."""
        ...

    def settle(self, messages: Sequence[Message]) -> None:
        """Say that these are done with, and need not be given again."""
        ...

    def lag(self) -> int:
        """Return how many messages wait or are not settled."""
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Takes answers; what `write` returned from is at the broker."""

    def write(self, outputs: Sequence[Output]) -> None: ...

    def close(self) -> None: ...


def prediction_id(service: str, stream: str, message: Message) -> str:
    """Return the id of the prediction for a message: the same one however often, and by whomever, it is answered.

    >>> prediction_id("s", "redis/orders", Message("1-0", b"", "", 1.0, False, 1, None))
    'pred-0000000z8580fp9sy0'
    """
    digest = blake2b(f"{service}\0{stream}\0{message.id}".encode(), digest_size=8).digest()
    return f"pred-{letters(int(message.at * 1000), 9)}{letters(int.from_bytes(digest, 'big'), 9)}"

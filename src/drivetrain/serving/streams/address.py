"""Where a stream is: an address such as `redis://localhost:6379/orders`, and the vendor's file that it means."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from drivetrain.errors import MissingExtra, UsageError, nearest

if TYPE_CHECKING:
    from drivetrain.serving.streams.message import Sink, Source

_VENDORS = {
    "redis": "redis",
    "rediss": "redis",
    "nats": "nats",
    "tls": "nats",
    "kafka": "kafka",
    "pubsub": "pubsub",
}
_EXAMPLES = "redis://localhost:6379/orders, nats://localhost:4222/orders, kafka://localhost:9092/orders or pubsub://project/orders"


class Address(NamedTuple):
    """A stream of a broker: `server` is the address without the stream's name."""

    scheme: str
    server: str
    stream: str

    @property
    def vendor(self) -> str:
        """The vendor, which is also the name of the extra."""
        return _VENDORS[self.scheme]

    @property
    def name(self) -> str:
        """What tells the stream apart, without host and password."""
        return f"{self.vendor}/{self.stream}"


def address(text: str) -> Address:
    """Return the stream that an address means.

    Raises:
        UsageError: it means none.

    >>> address("redis://localhost/2/orders")
    Address(scheme='redis', server='redis://localhost/2', stream='orders')
    """
    parts = urlsplit(text)
    if parts.scheme not in _VENDORS:
        found = nearest(parts.scheme, [*dict.fromkeys(_VENDORS.values())]) if parts.scheme else f"write {_EXAMPLES}"
        raise UsageError(f"{text!r} is the address of no broker that is known", remedy=found)
    server, _, stream = text.rstrip("/").rpartition("/")
    if not parts.netloc or not stream or server.endswith(":/"):
        raise UsageError(f"{text!r} names no stream", remedy=f"write {_EXAMPLES}")
    return Address(parts.scheme, server, stream)


def source_at(where: Address, *, group: str, consumer: str, batch: int) -> Source:
    """Return a source that reads a stream as one consumer of a group.

    Raises:
        MissingExtra: the vendor's library is not installed.
        ConnectionError: the broker cannot be reached.
    """
    source: Source = _vendor(where).source(where, group=group, consumer=consumer, batch=batch)
    return source


def sink_at(where: Address) -> Sink:
    """Return a sink that writes to a stream.

    Raises:
        MissingExtra: the vendor's library is not installed.
        ConnectionError: the broker cannot be reached.
    """
    sink: Sink = _vendor(where).sink(where)
    return sink


def _vendor(where: Address) -> Any:
    try:
        return import_module(f"drivetrain.serving.streams.{where.vendor}")
    except ImportError as error:
        if (error.name or "").startswith("drivetrain"):
            raise
        raise MissingExtra(
            library=error.name or where.vendor, extra=where.vendor, purpose=f"a stream at {where.scheme}://"
        ) from error

"""What a load test sends, where and when."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from drivetrain.errors import UsageError
from drivetrain.load.arrivals import Arrivals


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests go.

    >>> target = Target(url="http://127.0.0.1:8000/predict")
    >>> target.address
    ('127.0.0.1', 8000)
    """

    url: str
    method: str = "POST"
    headers: dict[str, str] = {}
    # A certificate that nobody vouches for is taken as well.
    insecure: bool = False

    @property
    def address(self) -> tuple[str, int]:
        """The host and port.

        Raises:
            UsageError: the URL is none.
        """
        parts = urlsplit(self.url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise UsageError(f"{self.url!r} is no URL", remedy="write one such as http://127.0.0.1:8000/predict")
        return parts.hostname, port or (443 if parts.scheme == "https" else 80)

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("https:")

    def request(self, body: bytes) -> bytes:
        """Return a request as it goes over the wire."""
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": "drivetrain-load", "Accept": "*/*"}
        if body:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        given = {name.lower() for name in self.headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in given} | self.headers
        lines = [f"{self.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent: at a rate, at recorded moments, or by so many connections that each wait for their answer.

    With a `rate` (a second) or `moments` (in seconds, one a request) it is an open loop, whose requests go when they
    are due, and whose times count from then. Without, a closed loop. `requests` are sent in turn. After `warm_up_s`
    begins what is measured, for `seconds`. A request is given up after `timeout_s`. Each stretch of `slice_s` is told
    alone as well, with how many requests missed `limit_s`. `times_in` is a file for when each prediction was asked for
    and came, by its id.
    """

    target: Target
    requests: list[bytes]
    rate: float | None = None
    arrivals: Arrivals = "constant"
    moments: list[float] = []
    speed: float = 1.0
    connections: int = 16
    seconds: float = 10.0
    warm_up_s: float = 0.0
    ramp_s: float = 0.0
    timeout_s: float = 10.0
    slice_s: float = 1.0
    limit_s: float = float("inf")
    times_in: str = ""

    @property
    def is_open(self) -> bool:
        """Whether requests are sent without waiting for the answers of others."""
        return self.rate is not None or bool(self.moments)

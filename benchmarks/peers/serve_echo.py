"""The limit of the HTTP server: the request's body goes back as it came."""

from typing import Any

HEADERS = [("content-type", "application/json")]


async def app(scope: Any, protocol: Any) -> None:
    """Answer with what was asked."""
    protocol.response_bytes(200, HEADERS, await protocol())

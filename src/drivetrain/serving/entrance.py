"""The entrance to a server: who may ask it, and what is read of a request."""

from __future__ import annotations

import asyncio
import hmac
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # it is public, and not listed as such

from drivetrain.errors import RequestError
from drivetrain.serving.encoding import COMPRESSED, QUICK_BYTES, chosen, decoded, encoded
from drivetrain.serving.media import UNNAMED, right_type
from drivetrain.store.record import new_id
from drivetrain.training.trace import of_trace, trace_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivetrain.serving.route import Headers

LOG = logging.getLogger("drivetrain.serving")

# A client that is cut off while it sends does not see why: so many times the limit are let pass by unread.
PATIENCE = 8
# What asks whether a server lives and is ready, in each protocol that has it; probes send no token.
_OPEN = frozenset({"/healthz", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready"})


class Entrance:
    """What an application does before and after it answers.

    `hosts` are the names that the Host header may give; empty allows all. `token` is what every request must carry,
    save those for the server's health; empty asks for none. A body has `max_body_bytes` at most.
    """

    def __init__(self, *, token: str, hosts: tuple[str, ...], max_body_bytes: int) -> None:
        self._authorization = f"Bearer {token}".encode() if token else b""
        self._hosts = frozenset(hosts)
        self._known_hosts: set[str] = set()
        self._max_body = max_body_bytes

    def _admit(self, scope: Any, headers: Any, path: str) -> None:
        """Refuse a request that a foreign page made a browser send, or that lacks the token."""
        if self._hosts:
            host = scope.authority or headers.get("host") or ""
            if host not in self._known_hosts:
                name = host if host.endswith("]") else host.rpartition(":")[0] or host
                if name.lower() not in self._hosts:
                    raise RequestError(status=421, message=f"this server does not answer for the host {host[:100]!r}")
                if len(self._known_hosts) < 64:
                    self._known_hosts.add(host)
        if self._authorization and path not in _OPEN:
            given = (headers.get("authorization") or "").encode(errors="replace")
            if not hmac.compare_digest(given, self._authorization):
                message = "the token is missing or wrong: send `Authorization: Bearer TOKEN`"
                raise RequestError(status=401, message=message)

    async def _body(self, proto: Any, headers: Any, takes: tuple[str, ...]) -> bytes:
        kind = headers.get("content-type") or ""
        if kind not in takes and kind.partition(";")[0].strip().lower() not in takes:
            raise RequestError(status=415, message=right_type(kind, takes))
        # A page of another site can send this without being asked for leave.
        if kind.partition(";")[0].strip().lower() in UNNAMED and headers.get("origin"):
            raise RequestError(status=415, message="send a Content-Type: a request from a page must name one")
        length = headers.get("content-length")
        body: bytes
        try:
            if length is not None and int(length) <= self._max_body:
                body = await proto()
            else:
                body = await self._limited(proto)
        except ProtocolClosed:
            raise RequestError(status=400, message="the body ends before the length that its header says") from None
        if length is not None and len(body) != int(length):
            found = f"the body has {len(body):,} bytes, and its header says {length[:20]}"
            raise RequestError(status=400, message=found)
        encoding = headers.get("content-encoding")
        return body if not encoding else await self._decoded(body, encoding)

    async def _decoded(self, body: bytes, encoding: str) -> bytes:
        work = partial(decoded, body, encoding, limit=self._max_body)
        # How much comes out is not known beforehand, but not more than a thousand times as much.
        return work() if len(body) * 1000 <= QUICK_BYTES else await _aside(work)

    async def _compressed(self, headers: Any, fields: Headers, body: str | bytes) -> tuple[Headers, str | bytes]:
        """Return a large answer compressed, where the client takes that and it is not compressed already."""
        name = chosen(headers.get("accept-encoding") or "")
        if not name or any(field == "content-type" and value in COMPRESSED for field, value in fields):
            return fields, body
        plain = body.encode() if isinstance(body, str) else body
        work = partial(encoded, plain, name)
        told = work() if len(plain) <= QUICK_BYTES else await _aside(work)
        return [*fields, ("content-encoding", name), ("vary", "accept-encoding")], told

    async def _limited(self, proto: Any) -> bytes:
        """Return a body whose length is not known or too large, without ever holding more than is allowed."""
        parts, size = [], 0
        async for part in proto:
            size += len(part)
            if size <= self._max_body:
                parts.append(bytes(part))
            elif size > self._max_body * PATIENCE:
                break
        if size > self._max_body:
            raise RequestError(status=413, message=f"the body is too large; at most {self._max_body:,} bytes are read")
        return b"".join(parts)


async def _aside(work: Callable[[], bytes]) -> bytes:
    """Return what some work gives that takes longer than the loop can spare, done in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


def failed(error: Exception, scope: Any) -> RequestError:
    """Return what a client is told of a failure of ours, whose reason goes into the log."""
    error_id = new_id("error")
    LOG.error("%s: %s %s%s", error_id, scope.method, scope.path, of_trace(trace_now()), exc_info=error)
    message = f"the server failed on this request; its log has more under {error_id}"
    return RequestError(status=500, message=message, error_id=error_id)

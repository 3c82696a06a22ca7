"""Callbacks: a client is told that its job has ended, at an address that the operator has allowed."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import logging
import socket
import ssl
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from drivetrain.errors import RequestError
from drivetrain.store.record import now

if TYPE_CHECKING:
    from drivetrain.serving.jobs.job import Job
    from drivetrain.serving.jobs.queue import Queue
    from drivetrain.serving.jobs.terms import Callbacks

LOG = logging.getLogger("drivetrain.serving")
TIMEOUT_S = 5.0
# After so many refusals, or none reached, the client has to ask by itself; the pauses double from the first one.
ATTEMPTS = 8
FIRST_PAUSE_S = 1.0
# Another process tells a client again when the one that was at it has not written down what came of it by then.
LEASE = timedelta(seconds=60)
SIGNATURE = "drivetrain-signature"


def check_url(url: Any, allowed: Callbacks) -> str:
    """Return an address that a job may tell when it has ended.

    Raises:
        RequestError: 422, it is none, or its host is not allowed.
    """

    def refuse(found: str, wanted: str) -> RequestError:
        problems = [{"row": None, "field": "callback_url", "found": found, "wanted": wanted}]
        return RequestError(status=422, message=f"the callback_url is {found}", problems=problems)

    if not isinstance(url, str) or len(url) > 2000 or not url.isascii() or any(each <= " " for each in url):
        raise refuse("no address", "an address such as https://example.org/done")
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise refuse("no address", "an address such as https://example.org/done") from None
    if parts.scheme not in ("http", "https") or not host:
        raise refuse(f"an address of the kind {parts.scheme[:20]!r}", "one that begins with https:// or http://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise refuse("an address with a user, a password or a fragment", "one without")
    if not allowed.hosts:
        raise refuse("not taken: callbacks are off", "the operator allows hosts with serve.callback_hosts")
    if not _is_listed(host, allowed):
        raise refuse(f"at the host {host[:100]}, which is not allowed", "a host of serve.callback_hosts")
    return url


def _is_listed(host: str, allowed: Callbacks) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower()
        return any(name == each or (each.startswith("*.") and name.endswith(each[1:])) for each in allowed.hosts)
    return _is_in_network(address, allowed)


def _is_in_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, allowed: Callbacks) -> bool:
    for each in allowed.hosts:
        try:
            if address in ipaddress.ip_network(each, strict=False):
                return True
        except ValueError:
            continue  # a name
    return False


def address_of(host: str, port: int, allowed: Callbacks) -> tuple[str, int]:
    """Return the address to connect to, looked up once, so that nobody can point the name elsewhere in between.

    Raises:
        OSError: the name has no address, or one that is private and not listed.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for _, _, _, _, place in found:
        address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if not (address.is_global and not address.is_multicast) and not _is_in_network(address, allowed):
            raise OSError(f"{host} is at {address}, which is private and not in serve.callback_hosts")
    return str(found[0][4][0]), port


def signed(secret: str, at: int, body: bytes) -> str:
    """Return the header that proves who tells, and when: an HMAC-SHA256 over the time, a dot and the body.

    >>> signed("secret", 1, b"{}")[:13]
    't=1,v1=112276'
    """
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def post(url: str, body: bytes, allowed: Callbacks) -> int:
    """Send a body to an address, and return the status of the answer; no redirect is followed.

    Raises:
        OSError: it cannot be reached, or is not allowed.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_safe = parts.scheme == "https"
    place = address_of(host, parts.port or (443 if is_safe else 80), allowed)
    connection = http.client.HTTPConnection(host, place[1], timeout=TIMEOUT_S)
    raw = socket.create_connection(place, timeout=TIMEOUT_S)
    try:
        connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=host) if is_safe else raw
        connection.request(
            "POST",
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            body,
            {
                "content-type": "application/json",
                "user-agent": "drivetrain",
                SIGNATURE: signed(allowed.secret, int(time.time()), body),
            },
        )
        with connection.getresponse() as answer:
            return answer.status
    except http.client.HTTPException as error:
        raise OSError(f"the answer is not HTTP: {type(error).__name__}") from error
    finally:
        connection.close()
        raw.close()


def tell_one(queue: Queue, allowed: Callbacks, told: Any) -> bool:
    """Tell the client of one job that it has ended, if there is one to tell; `told` gives the body for a job."""
    job = queue.to_tell(LEASE)
    if job is None:
        return False
    number = len(job.callback_attempts) + 1
    outcome: dict[str, Any] = {"at": msgspec.to_builtins(now())}
    try:
        check_url(job.callback_url, allowed)  # the list may have changed since
        outcome["status"] = status = post(job.callback_url, msgspec.json.encode(told(job)), allowed)
        is_taken = 200 <= status < 300
    except (OSError, RequestError) as error:
        outcome["error"] = str(error)[:200]
        is_taken = False
    again = None
    if not is_taken and number < ATTEMPTS:
        again = timedelta(seconds=FIRST_PAUSE_S * 2 ** (number - 1))
    elif not is_taken:
        LOG.error("the client of %s could not be told at %s: %s", job.id, job.callback_url, outcome)
    queue.told(job, outcome, again)
    return True


def telling(job: Job) -> str:
    """Return in a word what became of telling the client: empty where nobody asked for it."""
    if not job.callback_url:
        return ""
    if job.callback_at is not None:
        return "waiting"
    attempts = job.callback_attempts
    if not attempts:
        return "waiting" if not job.has_ended else "given up"
    return "told" if 200 <= attempts[-1].get("status", 0) < 300 else "given up"

"""Fetching what a request names by its address: from allowed hosts, and never from a network that is not public."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drivetrain.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Collection

TIMEOUT_S = 5.0


def host_of(url: str) -> str:
    """Return the host of an address, with its port where that is not the usual one; empty where there is none.

    >>> host_of("https://Images.example.com/a.png"), host_of("http://h:8080/"), host_of("https://user@h/")
    ('images.example.com', 'h:8080', '')
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.username is not None or not parts.hostname:
        return ""
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.hostname if port in (None, usual) else f"{parts.hostname}:{port}"


def fetched(url: str, hosts: Collection[str], *, max_bytes: int) -> bytes:
    """Return what is at an address of one of `hosts`.

    The host's addresses are looked up once and the connection is made to one of these, so that no second look-up can
    lead elsewhere. Redirects are not followed.

    Raises:
        RequestError: the host is not allowed or not public (422), or does not give it (422).
    """
    parts = urlsplit(url)
    host = host_of(url)
    if host not in hosts or parts.scheme not in ("http", "https") or parts.hostname is None:
        raise RequestError(status=422, message="an address may not be fetched: its host is not among those allowed")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        raise RequestError(status=422, message=f"the host {host} cannot be found") from None
    addresses = [str(each[4][0]) for each in found]
    if not all(is_public(address) for address in addresses):
        raise RequestError(status=422, message=f"the host {host} has an address that is not public")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return got(addresses[0], port, parts.hostname, path, secure=parts.scheme == "https", max_bytes=max_bytes)


def is_public(address: str) -> bool:
    """Return whether an address is one of the public network.

    >>> [is_public(each) for each in ("93.184.216.34", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1")]
    [True, False, False, False, False]
    """
    known = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(known, "ipv4_mapped", None) or known
    return inner.is_global and not inner.is_multicast


def got(address: str, port: int, host: str, path: str, *, secure: bool, max_bytes: int) -> bytes:
    """Return what a host gives at a path, asked at this very address.

    Raises:
        RequestError: 422, it does not give it, or gives more than `max_bytes`.
    """
    connection = _Pinned(address, port, host, secure=secure)
    try:
        connection.request("GET", path, headers={"host": host if port in (80, 443) else f"{host}:{port}"})
        with connection.getresponse() as answer:
            if answer.status != 200:
                raise RequestError(status=422, message=f"the host {host} answers {answer.status}")
            data = answer.read(max_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        raise RequestError(status=422, message=f"the host {host} does not give it: {type(error).__name__}") from None
    finally:
        connection.close()
    if len(data) > max_bytes:
        raise RequestError(status=422, message=f"the host {host} gives more than {max_bytes:,} bytes")
    return data


class _Pinned(http.client.HTTPConnection):
    """A connection to an address, in the name of a host."""

    def __init__(self, address: str, port: int, host: str, *, secure: bool) -> None:
        super().__init__(host, port, timeout=TIMEOUT_S)
        self._address, self._secure = address, secure

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

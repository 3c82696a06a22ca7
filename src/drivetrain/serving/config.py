"""The configuration of a server, the same in each of its processes."""

from __future__ import annotations

import ipaddress

import msgspec

from drivetrain.serving.calls.addresses import Addresses
from drivetrain.serving.jobs.terms import Callbacks

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Which store a server reads, where it listens, and on what conditions, whatever it answers for.

    Models that are pickles are read where `allow_pickle` is set. With a `token`, a request must carry it. gRPC is
    answered where there is a `grpc_port`. Jobs may tell `callbacks` that they have ended, and called services answer
    at `addresses`.

    >>> Config(store=".drivetrain", host="::1", grpc_port=9000).grpc_address
    '[::1]:9000'
    """

    store: str
    allow_pickle: bool = False
    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int = 0
    workers: int = 1
    token: str = ""
    callbacks: Callbacks = Callbacks()
    addresses: Addresses = Addresses()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that the Host header of a request may give; empty allows all."""
        return LOCAL_NAMES if is_loopback(self.host) else ()

    @property
    def grpc_address(self) -> str:
        """Where gRPC is answered."""
        host = self.host.strip("[]")
        return f"[{host}]:{self.grpc_port}" if ":" in host else f"{host}:{self.grpc_port}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

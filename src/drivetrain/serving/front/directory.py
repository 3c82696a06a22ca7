"""The directory of a server's services: which of them a client means by a name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, TypeVar

from drivetrain.errors import RequestError, UsageError
from drivetrain.serving.contract import package_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.serving.service import Terms

T = TypeVar("T")

# Where the server itself answers, so that no service can.
RESERVED = frozenset({"", "docs", "healthz", "metrics", "readyz", "v1", "v2"})
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Directory(Generic[T]):
    """Some things, one for each service, found by the name of its model or its own.

    >>> from drivetrain.serving.service import Terms
    >>> directory = Directory([(Terms(name="arrivals", model="late"), 1), (Terms(name="prices", model="price"), 2)])
    >>> directory.find("late"), directory.find("prices")
    (1, 2)
    """

    def __init__(self, members: Sequence[tuple[Terms, T]]) -> None:
        self._members = members

    def find(self, name: str) -> T:
        """Return what belongs to the service that a client's name for a model means.

        Raises:
            RequestError: none has this name (404), or the model of this name belongs to several (409).
        """
        found = [(service, member) for service, member in self._members if service.serves(name)]
        if not found:
            known = ", ".join(f"{service.model} of {service.name}" for service, _ in self._members)
            raise RequestError(status=404, message=f"there is no model {name[:60]!r} here; there are {known}")
        if len(found) > 1:
            names = " or ".join(service.name for service, _ in found)
            message = f"{name[:60]!r} is the model of several services here: say {names} instead"
            raise RequestError(status=409, message=message)
        return found[0][1]


def check_names(services: Sequence[Terms]) -> None:
    """Refuse services that cannot be told apart by their names in an address, or on gRPC.

    Raises:
        UsageError: a name is the server's own, is none for an address, or is too much like another's.
    """
    packages: dict[str, str] = {}
    for each in services:
        name = each.name
        if name in RESERVED or not _SEGMENT.fullmatch(name):
            why = "that address is the server's own" if name in RESERVED else "that is no part of an address"
            raise UsageError(
                f"the service {name!r} cannot be asked at /{name} beside others: {why}",
                remedy="give it another name, `dt.Service(…, name=…)` in letters, digits and _, or a server of its own",
            )
        other = packages.setdefault(package_of(name), name)
        if other != name:
            raise UsageError(
                f"the services {other!r} and {name!r} cannot be told apart by clients of gRPC",
                remedy="give one of them another name: `dt.Service(…, name=…)`",
            )

"""What a request says of answers that are known already (RFC 9111), and what it is told of them (RFC 9211)."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Control:
    """Whether a request may be given a known answer, of at most which age, and whether its own may be kept.

    `status` is what its client is told once it is answered: the value of `Cache-Status`.
    """

    __slots__ = ("looks_up", "max_age_s", "status", "stores")

    def __init__(self, *, looks_up: bool = True, stores: bool = True, max_age_s: float = inf) -> None:
        self.looks_up, self.stores, self.max_age_s = looks_up, stores, max_age_s
        self.status = ""

    def tell(self, *, found: int, of: int, is_collapsed: bool, left_s: float) -> None:
        """Take in how many of the rows were known; the first of the known ones to go is kept for `left_s` more."""
        if found == of:
            self.status = f"drivetrain; hit; ttl={left_s:.0f}"
            return
        reason = "request" if not self.looks_up else "partial" if found else "miss"
        self.status = f"drivetrain; fwd={reason}{'; collapsed' if is_collapsed else ''}"


def control_of(headers: Mapping[str, str]) -> Control:
    """Return what the headers of a request say.

    `no-cache` asks the model in any case, and so does `no-store`, which keeps nothing either; `max-age=60` takes no
    older answer than of a minute ago. What else `Cache-Control` may say means nothing here.

    >>> control_of({"cache-control": "no-cache"}).looks_up, control_of({}).looks_up
    (False, True)
    """
    told = headers.get("cache-control")
    if not told:
        return Control()
    said = {}
    for each in told.lower().split(","):
        name, _, value = each.partition("=")
        said[name.strip()] = value.strip().strip('"')
    age = said.get("max-age", "")
    # Whoever says an age that is no number is given nothing that may be too old.
    max_age_s = inf if "max-age" not in said else float(age) if age.isascii() and age.isdecimal() else 0.0
    keeps_out = "no-store" in said
    return Control(
        looks_up=not keeps_out and "no-cache" not in said and max_age_s > 0,
        stores=not keeps_out,
        max_age_s=max_age_s,
    )

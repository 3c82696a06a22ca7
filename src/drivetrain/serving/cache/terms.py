"""How long a service keeps answers, and how many."""

from __future__ import annotations

import msgspec

from drivetrain.system.declaration import Declared

# Less than this holds nothing worth looking for.
LEAST_BYTES = 64 << 10


class Cache(msgspec.Struct, frozen=True, kw_only=True, metaclass=Declared):
    """How a service keeps answers: `Service(lateness, cache=Cache(keep="5m"))`.

    Who asks the same again within `keep` is given the answer that is known, if the same version answers. Each worker
    keeps up to `max_bytes`, all that an answer costs included; beyond that, what was not asked for the longest goes.

    >>> Cache(keep="1h").max_bytes
    67108864
    """

    keep: str = "5m"
    max_bytes: int = 64 << 20

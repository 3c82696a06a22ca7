"""What a service allows jobs, and whom it may call back."""

from __future__ import annotations

import msgspec

from drivetrain.system.declaration import Declared


class Jobs(msgspec.Struct, frozen=True, kw_only=True, metaclass=Declared):
    """How a service treats jobs: `Service(lateness, jobs=Jobs(max_waiting=100))`.

    At most `max_waiting` jobs are queued or running, each of up to `max_rows` rows. The server's own workers give them
    up to `share` of their time, and none while online requests wait; with 0 only `drivetrain work` answers them. What
    is finished is kept for `keep`, such as `"7d"`, and then cleaned away.

    >>> Jobs(share=0).share
    0
    """

    max_waiting: int = 1000
    max_rows: int = 100_000
    share: float = 0.25
    keep: str = "7d"


class Callbacks(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a job may tell that it has ended: `hosts` are names, addresses or networks; none are allowed by default.

    A name may resolve to a private address only where that address, or its network, is listed too. `secret` signs.
    """

    hosts: tuple[str, ...] = ()
    secret: str = ""


def callbacks_of(hosts: str, secret: str) -> Callbacks:
    """Return what two settings say; `hosts` are separated by commas.

    >>> callbacks_of("example.org, 10.0.0.0/8", "s").hosts
    ('example.org', '10.0.0.0/8')
    """
    return Callbacks(hosts=tuple(each.strip().lower() for each in hosts.split(",") if each.strip()), secret=secret)

"""What a request says of known answers, and is told of them, in the words of HTTP."""

from __future__ import annotations

from math import inf

import pytest

from drivetrain.serving.cache.control import Control, control_of


@pytest.mark.parametrize(
    ("told", "looks_up", "stores", "max_age_s"),
    [
        (None, True, True, inf),
        ("", True, True, inf),
        ("no-cache", False, True, inf),
        ("No-Cache, foo=bar", False, True, inf),
        ("no-store", False, False, inf),
        ("max-age=60", True, True, 60.0),
        ('max-age="60"', True, True, 60.0),
        ("max-age=0", False, True, 0.0),
        ("max-age=soon", False, True, 0.0),
        ("max-age", False, True, 0.0),
        ("only-if-cached, max-stale=5", True, True, inf),
        ("x-no-cache", True, True, inf),
    ],
)
def test_cache_control_is_read_as_http_has_it(told: str | None, looks_up: bool, stores: bool, max_age_s: float) -> None:
    found = control_of({} if told is None else {"cache-control": told})

    assert (found.looks_up, found.stores, found.max_age_s) == (looks_up, stores, max_age_s)


@pytest.mark.parametrize(
    ("control", "found", "is_collapsed", "status"),
    [
        (Control(), 2, False, "drivetrain; hit; ttl=12"),
        (Control(), 1, False, "drivetrain; fwd=partial"),
        (Control(), 0, False, "drivetrain; fwd=miss"),
        (Control(), 0, True, "drivetrain; fwd=miss; collapsed"),
        (Control(looks_up=False), 0, False, "drivetrain; fwd=request"),
    ],
)
def test_the_status_is_one_of_rfc_9211(control: Control, found: int, is_collapsed: bool, status: str) -> None:
    control.tell(found=found, of=2, is_collapsed=is_collapsed, left_s=12.2)

    assert control.status == status

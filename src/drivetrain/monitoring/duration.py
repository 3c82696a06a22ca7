"""Lengths of time as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def duration(text: str) -> timedelta:
    """Return the length that a number and a unit stand for: `30s`, `15m`, `6h`, `7d` or `2w`.

    Raises:
        ValueError: it is none, or no longer than nothing.

    >>> duration("7d")
    datetime.timedelta(days=7)
    """
    match = _DURATION.fullmatch(str(text).strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is not a length of time; write a number and s, m, h, d or w, such as 7d")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def spoken(length: timedelta) -> str:
    """Return a length in the largest unit that fits it.

    >>> spoken(timedelta(days=14)), spoken(timedelta(hours=36)), spoken(timedelta(seconds=0.5))
    ('14 days', '36 hours', '0.5 seconds')
    """
    seconds = length.total_seconds()
    for word, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {word}{'s' if count > 1 else ''}"
    return f"{seconds:g} seconds"

"""Lengths of time as people write them: `30s`, `12h`, `21d`, `2w`, `1d12h`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from drivetrain.errors import BadSetting

if TYPE_CHECKING:
    from drivetrain.errors import Place

_FORM = re.compile(r"(\d+(ms|s|m|h|d|w|mo|q|y))+")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PIECE = re.compile(r"(\d+)([smhdw])")


def duration(text: str, setting: str = "length of time", *, place: Place | None = None) -> timedelta:
    """Return the length that whole numbers and units stand for; polars' `offset_by` takes every such text, too.

    Raises:
        BadSetting: it is none, or no longer than nothing; `setting` says what it was given for.

    >>> duration("7d")
    datetime.timedelta(days=7)
    >>> duration("1d12h")
    datetime.timedelta(days=1, seconds=43200)
    """
    pieces = _PIECE.findall(str(text))
    seconds = sum(int(number) * _UNITS[unit] for number, unit in pieces)
    if not seconds or "".join(number + unit for number, unit in pieces) != text:
        raise BadSetting(
            setting=setting,
            found=f"{text!r}, which is not a length of time",
            right="write whole numbers with s, m, h, d or w, such as `12h`, `21d` or `1d12h`",
            place=place,
        )
    return timedelta(seconds=seconds)


def checked_duration(text: str, setting: str, *, place: Place | None = None) -> str:
    """Return the text again where it is a length of time, in the form that polars' `offset_by` takes.

    Raises:
        BadSetting: it is none.

    >>> checked_duration("21d", "test")
    '21d'
    """
    if _FORM.fullmatch(text):
        return text
    raise BadSetting(
        setting=setting,
        found=repr(text),
        right="write a length of time such as `12h`, `21d`, `1w` or `3mo`",
        place=place,
    )

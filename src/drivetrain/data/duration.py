"""Lengths of time as people write them: `21d`, `12h`, `1w`, `3mo`, `1d12h`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drivetrain.errors import BadSetting

if TYPE_CHECKING:
    from drivetrain.errors import Place

_FORM = re.compile(r"(\d+(ms|s|m|h|d|w|mo|q|y))+")


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

"""Periods: the months, weeks, days or hours since a date, as items of a mapped step."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from drivetrain.errors import BadSetting
from drivetrain.store.record import now
from drivetrain.system.caller import caller

if TYPE_CHECKING:
    from collections.abc import Callable

Unit = Literal["month", "week", "day", "hour"]
# A step of more items than this is a slip of the pen: hours since 1970.
MOST_PERIODS = 100_000


class _Form(NamedTuple):
    """How a period is written: what text it may be, its first moment, its name, and the first moment of the next."""

    pattern: str
    example: str
    begins: Callable[[str], datetime]
    name: Callable[[datetime], str]
    following: Callable[[datetime], datetime]


def _moment(text: str, form: str) -> datetime:
    return datetime.strptime(text, form).replace(tzinfo=UTC)


def _next_month(at: datetime) -> datetime:
    return (at.replace(day=1) + timedelta(days=32)).replace(day=1)


_FORMS: dict[Unit, _Form] = {
    "month": _Form(
        r"\d{4}-\d\d", "2013-02", lambda text: _moment(text, "%Y-%m"), lambda at: f"{at:%Y-%m}", _next_month
    ),
    "week": _Form(
        r"\d{4}-W\d\d",
        "2013-W05",
        lambda text: _moment(f"{text}-1", "%G-W%V-%u"),
        lambda at: f"{at:%G-W%V}",
        lambda at: at + timedelta(days=7),
    ),
    "day": _Form(
        r"\d{4}-\d\d-\d\d",
        "2013-02-28",
        lambda text: _moment(text, "%Y-%m-%d"),
        lambda at: f"{at:%Y-%m-%d}",
        lambda at: at + timedelta(days=1),
    ),
    "hour": _Form(
        r"\d{4}-\d\d-\d\dT\d\d",
        "2013-02-28T05",
        lambda text: _moment(text, "%Y-%m-%dT%H"),
        lambda at: f"{at:%Y-%m-%dT%H}",
        lambda at: at + timedelta(hours=1),
    ),
}


class Periods(msgspec.Struct, frozen=True):
    """The periods from `since` on, to `until` and with it; without `until`, up to the last that is over now, in UTC.

    >>> Periods("month", "2013-11", "2014-01").now()
    ['2013-11', '2013-12', '2014-01']
    """

    unit: Unit
    since: str
    until: str = ""

    @property
    def is_open(self) -> bool:
        """Whether there are more of them as time goes by."""
        return not self.until

    def now(self) -> list[str]:
        """Return the periods as they are now."""
        form = _FORMS[self.unit]
        at = form.begins(self.since)
        end = form.following(form.begins(self.until)) if self.until else now()
        names = []
        while (after := form.following(at)) <= end:
            names.append(form.name(at))
            at = after
            if len(names) > MOST_PERIODS:
                raise BadSetting(
                    setting=f"`since` of the {self.unit}s",
                    found=f"{self.since!r}, which gives more than {MOST_PERIODS:,}",
                    right="begin later, or take longer periods",
                )
        return names


def monthly(since: str, *, until: str = "") -> Periods:
    """Return the months from `since` on, such as `2013-02`, for `each`.

    `until` is the last one; without it there is one more whenever a month is over, in UTC.

    >>> monthly("2013-01", until="2013-03").now()
    ['2013-01', '2013-02', '2013-03']
    """
    return _checked("month", since, until)


def weekly(since: str, *, until: str = "") -> Periods:
    """Return the weeks of ISO 8601 from `since` on, such as `2013-W05`; otherwise as `monthly`.

    >>> weekly("2020-W52", until="2021-W01").now()
    ['2020-W52', '2020-W53', '2021-W01']
    """
    return _checked("week", since, until)


def daily(since: str, *, until: str = "") -> Periods:
    """Return the days from `since` on, such as `2013-02-28`; otherwise as `monthly`.

    >>> daily("2013-02-28", until="2013-03-01").now()
    ['2013-02-28', '2013-03-01']
    """
    return _checked("day", since, until)


def hourly(since: str, *, until: str = "") -> Periods:
    """Return the hours from `since` on, such as `2013-02-28T05`, in UTC; otherwise as `monthly`.

    >>> hourly("2013-02-28T23", until="2013-03-01T00").now()
    ['2013-02-28T23', '2013-03-01T00']
    """
    return _checked("hour", since, until)


def _checked(unit: Unit, since: str, until: str) -> Periods:
    form = _FORMS[unit]
    for name, value in (("since", since), ("until", until)):
        if name == "until" and value == "":
            continue
        if not _is_of(form, value):
            raise BadSetting(
                setting=f"{name} of the {unit}s",
                found=repr(value),
                right=f"write a {unit} as `{form.example}`",
                place=caller(),
            )
    if until and form.begins(until) < form.begins(since):
        raise BadSetting(
            setting=f"until of the {unit}s",
            found=f"{until!r}, which is before {since!r}",
            right="write the earlier one first",
            place=caller(),
        )
    return Periods(unit, since, until)


def _is_of(form: _Form, value: Any) -> bool:
    if not isinstance(value, str) or not re.fullmatch(form.pattern, value):
        return False
    try:
        form.begins(value)
    except ValueError:
        return False
    return True

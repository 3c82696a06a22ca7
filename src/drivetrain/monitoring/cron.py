"""Times of a calendar in the five fields of cron: minute, hour, day of the month, month, day of the week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from drivetrain.errors import DeclarationError, Place
from drivetrain.system.caller import caller
from drivetrain.system.declaration import declares

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# The name of each field, its smallest and largest value, and the names that may stand for values.
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
# 29 February comes back within eight years, also over the end of a century.
_HORIZON = timedelta(days=8 * 366)


class Cron(msgspec.Struct, frozen=True):
    """A calendar: each field has the values that fit; times are UTC."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    # As in every cron: when both days are restricted, one of them is enough.
    either_day: bool

    def __str__(self) -> str:
        return f"cron {self.text}"

    def fits(self, day: datetime) -> bool:
        """Return whether some minute of this day is meant."""
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week

    def next_after(self, moment: datetime) -> datetime:
        """Return the first time after `moment`.

        >>> str(cron("0 3 * * 1").next_after(datetime(2026, 1, 1, tzinfo=UTC)))
        '2026-01-05 03:00:00+00:00'
        """
        found = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = found + _HORIZON
        while found < end:
            if not self.fits(found):
                found = found.replace(hour=0, minute=0) + timedelta(days=1)
            elif found.hour not in self.hours:
                found = found.replace(minute=0) + timedelta(hours=1)
            elif found.minute not in self.minutes:
                found += timedelta(minutes=1)
            else:
                return found
        raise AssertionError(f"{self.text} never comes, and `cron` refuses such")


@declares
def cron(text: str) -> Cron:
    """Return a calendar for a `Trigger`: `cron("0 3 * * 1")` is every Monday at 03:00 UTC.

    A field is `*`, a value, a range `1-5`, a step `*/15` or `10-50/20`, or several of these with commas. Months and
    days of the week may be named by three letters; Sunday is 0 and 7. When the day of the month and that of the week
    are both restricted, one of them is enough.

    Raises:
        DeclarationError: a field cannot be understood, or no such day ever comes.

    >>> sorted(cron("*/20 9-17 * * mon-fri").minutes)
    [0, 20, 40]
    """
    place = caller()
    parts = text.split()
    if len(parts) != 5:
        raise DeclarationError(
            f"the calendar {text!r} has {len(parts)} fields",
            remedy='write five: minute, hour, day of the month, month, day of the week, such as "0 3 * * 1"',
            place=place,
        )
    values = [_values(part, field, text, place) for part, field in zip(parts, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = values
    calendar = Cron(
        text=" ".join(parts),
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        either_day=not parts[2].startswith("*") and not parts[4].startswith("*"),
    )
    longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
    if not calendar.either_day and min(days) > max(longest.get(month, 31) for month in months):
        raise DeclarationError(f"the calendar {text!r} never comes: no such month has so many days", place=place)
    return calendar


def _values(part: str, field: tuple[str, int, int, tuple[str, ...]], text: str, place: Place) -> frozenset[int]:
    name, low, high, names = field
    found: set[int] = set()
    for item in part.lower().split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        try:
            begin = low if span == "*" else _number(first, low, names)
            end = high if span == "*" or (step and not last) else _number(last or first, low, names)
            stride = int(step) if "/" in item else 1
        except ValueError:
            begin, end, stride = 1, 0, 1
        if not (low <= begin <= end <= high and stride >= 1):
            raise DeclarationError(
                f"the calendar {text!r} has {item!r} as its {name}",
                remedy=f"a {name} is {low} to {high}, `*`, a range such as {low}-{high}, or a step such as */2",
                place=place,
            )
        found |= set(range(begin, end + 1, stride))
    return frozenset(found)


def _number(word: str, low: int, names: tuple[str, ...]) -> int:
    return names.index(word) + low if word in names else int(word)

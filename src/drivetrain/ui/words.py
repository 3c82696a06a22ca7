"""Figures and moments in words: how the pages write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from markupsafe import Markup

from drivetrain.store.record import now

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def count(number: float | None) -> str:
    """Return a whole number with its thousands apart.

    >>> count(80789)
    '80,789'
    """
    return "–" if number is None else f"{number:,.0f}"


def brief(number: float | None) -> str:
    """Return a number in few letters.

    >>> brief(80789), brief(12), brief(3_400_000)
    ('80.8k', '12', '3.4M')
    """
    if number is None:
        return "–"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            return f"{number / min(limit, 1e9 if limit == 1e9 else 1e6 if limit == 1e6 else 1e3):.3g}{letter}"
    return count(number) if float(number).is_integer() else f"{number:.3g}"


def figure(number: Any) -> str:
    """Return a metric to three places, or as many as tell it from 0.

    >>> figure(0.70123), figure(12), figure(0.00012), figure(10.42), figure(1040.2)
    ('0.701', '12', '0.00012', '10.4', '1,040')
    """
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return said(number)
    if not isfinite(number):
        return str(number)
    if abs(number) >= 100 or float(number).is_integer():
        return f"{number:,.0f}"
    if abs(number) >= 1:
        return f"{number:.2f}" if abs(number) < 10 else f"{number:.1f}"
    return f"{number:.3f}" if abs(number) >= 0.01 else f"{number:.2g}"


def said(value: Any) -> str:
    """Return a value of a setting or column as it would be written.

    >>> said(0.1), said(True), said(None), said(["a", "b"]), said({"check": "unique"}), said(14000)
    ('0.1', 'true', '–', 'a, b', 'check unique', '14,000')
    """
    match value:
        case None:
            return "–"
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}" if abs(value) >= 10_000 else str(value)
        case float():
            return f"{value:.6g}"
        case dict():
            return ", ".join(f"{name} {said(each)}" for name, each in value.items() if each)
        case list() | tuple():
            return ", ".join(said(each) for each in value) or "none"
    return str(value)


def signed(number: float) -> str:
    """Return a difference with its sign.

    >>> signed(0.0269), signed(-0.106)
    ('+0.027', '−0.106')
    """
    return ("+" if number >= 0 else "−") + figure(abs(number))


def percent(share: float | None) -> str:
    """Return a share as a percentage.

    >>> percent(0.2), percent(0.0041), percent(0.0)
    ('20 %', '0.41 %', '0 %')
    """
    if share is None:
        return "–"
    return f"{share * 100:.0f} %" if share == 0 or share >= 0.1 else f"{share * 100:.2g} %"


def seconds(span: float | None) -> str:
    """Return a stretch of time in its two largest units.

    >>> seconds(0.0042), seconds(4.21), seconds(192), seconds(7320)
    ('4.2 ms', '4.2 s', '3 min 12 s', '2 h 2 min')
    """
    if span is None:
        return "–"
    if span < 1:
        return f"{span * 1000:.2g} ms" if span < 0.1 else f"{span * 1000:.0f} ms"
    if span < 60:
        return f"{span:.1f} s"
    minutes, rest = divmod(round(span), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def size(size_bytes: float) -> str:
    """Return a number of bytes in a unit that fits.

    >>> size(412_887)
    '403 KiB'
    """
    unit = 0
    while size_bytes >= 1024 and unit < len(_SIZES) - 1:
        size_bytes, unit = size_bytes / 1024, unit + 1
    return f"{size_bytes:.3g} {_SIZES[unit]}"


def short(name: str) -> str:
    """Return a digest or commit as far as people read it.

    >>> short("sha256:e3b0c44298fc1c149afb")
    'e3b0c44298'
    """
    return name.removeprefix("sha256:")[:10]


def utc(moment: datetime) -> datetime:
    """Return a moment in UTC; one without a zone is taken to be in UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def day(moment: datetime) -> str:
    """Return the day of a moment.

    >>> day(datetime(2013, 5, 6, tzinfo=UTC))
    '6 May 2013'
    """
    return f"{moment.day} {moment:%b %Y}"


def clock(moment: datetime) -> str:
    """Return a moment to the second.

    >>> clock(datetime(2013, 5, 6, 7, 8, 9, tzinfo=UTC))
    '6 May 2013, 07:08:09 UTC'
    """
    moment = utc(moment)
    return f"{day(moment)}, {moment:%H:%M:%S} UTC"


def hour(moment: datetime) -> str:
    """Return the time of day, to the minute."""
    return f"{utc(moment):%H:%M}"


def since(moment: datetime) -> str:
    """Return how long ago a moment was."""
    span = (now() - utc(moment)).total_seconds()
    for limit, unit, name in ((45, 1, "s"), (2700, 60, "min"), (79_200, 3600, "h"), (2_160_000, 86_400, "d")):
        if span < limit:
            return "just now" if span < 5 else f"{max(1, round(span / unit))} {name} ago"
    return day(utc(moment))


def ago(moment: datetime | None) -> Markup:
    """Return a `time` element that reads as how long ago it was; the page's script keeps it true."""
    if moment is None:
        return Markup("–")
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(
        utc(moment).isoformat(), clock(moment), since(moment)
    )


def world(moment: datetime | None) -> Markup:
    """Return a `time` element with the day in the world of the data."""
    if moment is None:
        return Markup("")
    return Markup('<time datetime="{}" title="{} in the data">{}</time>').format(
        utc(moment).isoformat(), clock(moment), day(utc(moment))
    )


def ticked(text: str) -> Markup:
    """Return a sentence in which what stands between backticks is code.

    >>> ticked("name it under `later` <here>")
    Markup('name it under <code>later</code> &lt;here&gt;')
    """
    pieces = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else piece for place, piece in enumerate(pieces)
    )


def plain_type(dtype: str) -> str:
    """Return a column's type without what is as it usually is.

    >>> plain_type("Datetime(time_unit='us', time_zone=None)"), plain_type("Datetime(time_unit='us', time_zone='UTC')")
    ('Datetime', 'Datetime (UTC)')
    """
    name, _, rest = dtype.partition("(")
    zone = re.search(r"time_zone='([^']+)'", rest)
    return dtype if not rest or name != "Datetime" else f"{name} ({zone[1]})" if zone else name


FILTERS = {
    each.__name__: each
    for each in (
        count,
        brief,
        figure,
        said,
        signed,
        percent,
        seconds,
        size,
        short,
        day,
        clock,
        hour,
        ago,
        world,
        ticked,
        plain_type,
    )
}

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from drivetrain.errors import DeclarationError
from drivetrain.monitoring.cron import cron

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", "2026-01-01 00:01"),
        ("0 3 * * 1", "2026-01-05 03:00"),
        ("0 3 * * MON", "2026-01-05 03:00"),
        ("*/15 * * * *", "2026-01-01 00:15"),
        ("10-50/20 5 * * *", "2026-01-01 05:10"),
        ("5/20 * * * *", "2026-01-01 00:05"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 31 * *", "2026-01-31 00:00"),
        ("0 12 13 * fri", "2026-01-02 12:00"),  # either day is enough
        ("0 12 * jun,dec sun", "2026-06-07 12:00"),
        ("30 23 * * 7", "2026-01-04 23:30"),
        ("59 23 31 12 *", "2026-12-31 23:59"),
    ],
)
def test_the_next_time_is_the_first_that_fits(text: str, expected: str) -> None:
    found = cron(text).next_after(NEW_YEAR)

    assert f"{found:%Y-%m-%d %H:%M}" == expected


@given(
    minute=some.integers(0, 59),
    hour=some.integers(0, 23),
    start=some.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2090, 1, 1)),  # noqa: DTZ001
)
def test_a_daily_time_comes_within_a_day(minute: int, hour: int, start: datetime) -> None:
    moment = start.replace(tzinfo=UTC)

    found = cron(f"{minute} {hour} * * *").next_after(moment)

    assert moment < found <= moment + timedelta(days=1)
    assert (found.hour, found.minute) == (hour, minute)


@pytest.mark.parametrize(
    "text",
    ["", "0 3 * *", "60 * * * *", "* 24 * * *", "0 0 0 * *", "0 0 30 2 *", "5-1 * * * *", "*/0 * * * *", "x * * * *"],
)
def test_a_calendar_that_cannot_be_says_what_is_wrong(text: str) -> None:
    with pytest.raises(DeclarationError, match="calendar") as seen:
        cron(text)

    assert seen.value.place is not None
    assert seen.value.place.file.endswith("test_cron.py")

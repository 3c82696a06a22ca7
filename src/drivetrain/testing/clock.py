"""A clock that stands still until it is moved."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock

from drivetrain.data.duration import duration
from drivetrain.store.record import utc


class Clock:
    """Tells one moment; each look is a microsecond after the one before, so that what happened keeps its order.

    >>> clock = Clock("2026-01-05T03:00")
    >>> clock().isoformat()
    '2026-01-05T03:00:00.000001+00:00'
    >>> clock.move("1d")
    >>> clock().day
    6
    """

    def __init__(self, moment: str | datetime) -> None:
        self._moment = utc(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)
        self._lock = Lock()

    def __call__(self) -> datetime:
        with self._lock:
            self._moment += timedelta(microseconds=1)
            return self._moment

    def move(self, length: str | timedelta) -> None:
        """Go forward by a length of time, such as `13h`."""
        with self._lock:
            self._moment += duration(length, "time to wait") if isinstance(length, str) else length

"""The real flights of 2013 as traffic: asked an hour before departure, answered for when they have left.

The clock runs as fast as the service answers, but waits where the world would: while a model trains.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ASKED_AT, LEFT_AT = pl.col("scheduled").dt.offset_by("-1h"), pl.col("departed_at")
# A connection that has lain idle for so long is opened anew.
IDLE_S = 3.0
OUTCOMES = ["departed_at", "arrival_delay_minutes", "air_time_minutes", "late"]


class Answered(NamedTuple):
    """One flight, what was predicted for it, by which version, and how it came out."""

    flight_id: str
    scheduled: datetime
    prediction: float
    version: str


class Replay:
    """Sends each flight to a server when its time comes, and its outcome when it has left.

    `answered` collects every answer; `failed` counts requests that got none.
    """

    def __init__(self, flights: Path, *, port: int) -> None:
        self._flights = pl.read_parquet(flights)
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self.answered: list[Answered] = []
        self.last_id = ""
        self._used_at = time.monotonic()
        self.requests = self.failed = 0

    def run(self, start: datetime, end: datetime, *, each_day: Callable[[datetime], None]) -> None:
        """Live through the days from `start` to `end`; `each_day` is called at each midnight and may take its time."""
        day = start
        while day < end:
            asked = by_hour(self._flights, ASKED_AT, day)
            left = by_hour(self._flights, LEFT_AT, day)
            for hour in (day + each * HOUR for each in range(24)):
                if hour in asked:
                    self._ask(asked[hour])
                if hour in left:
                    self._post("/feedback", left[hour].select(key="flight_id", label="late").to_dicts())
            day += DAY
            each_day(day)

    def _ask(self, flights: pl.DataFrame) -> None:
        rows = flights.drop(OUTCOMES).to_dicts()
        answers = self._post("/predict", rows)["predictions"]
        self.last_id = str(answers[-1]["id"])
        for row, answer in zip(rows, answers, strict=True):
            self.answered.append(Answered(row["flight_id"], row["scheduled"], answer["prediction"], answer["version"]))

    def _post(self, path: str, rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        data = msgspec.json.encode(rows)
        if time.monotonic() - self._used_at > IDLE_S:
            self._connection.close()  # the server has closed it by now, or is about to
        self._connection.request("POST", path, data, {"content-type": "application/json"})
        response = self._connection.getresponse()
        body = response.read()
        self._used_at = time.monotonic()
        self.requests += 1
        if response.status >= 300:
            self.failed += 1
            raise RuntimeError(f"{path} answered {response.status}: {body[:500]!r}")
        return msgspec.json.decode(body, type=dict[str, Any])


def by_hour(flights: pl.DataFrame, moment: pl.Expr, day: datetime) -> dict[datetime, pl.DataFrame]:
    """Return the flights whose `moment` lies within a day, hour by hour."""
    found = flights.filter(moment.is_between(day, day + DAY, closed="left")).with_columns(hour=moment.dt.truncate("1h"))
    parts = found.partition_by("hour", as_dict=True, include_key=False)
    return {hour: part for (hour,), part in parts.items()}

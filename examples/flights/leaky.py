"""The same system after one wrong line: `departed_at` is no longer declared as known only later.

Offline the model becomes perfect, and the gate lets it through. No request can hold the column, so its first live
labels expose it: it calls every flight punctual.
"""

import flights as honest
import polars as pl
from flights import gate, lateness, quality, retrain, service, watch, weather

import drivetrain as dt


@dt.dataset(
    key="flight_id",
    time="scheduled",
    label="late",
    later=["arrival_delay_minutes", "air_time_minutes"],  # the wrong line
    checks=[dt.unique("flight_id"), dt.not_null("carrier"), dt.between("distance_miles", 10, 6_000)],
)
def flights(until: str = "2013-04-01") -> pl.LazyFrame:
    """Every flight scheduled before `until`, and, by mistake, when it left."""
    return honest.flights(until)


@dt.features
def departure(flights: pl.LazyFrame, weather: pl.LazyFrame) -> pl.LazyFrame:
    """What is known an hour before, and how many minutes past its time the flight left."""
    past = pl.col("departed_at") - pl.col("scheduled")
    leak = flights.select("flight_id", minutes_past=past.dt.total_minutes().cast(pl.Float32))
    return honest.departure(flights, weather).join(leak, on="flight_id", how="left", maintain_order="left")


train, test = dt.split(departure, test="21d")

system = dt.System(
    "flights", flights, weather, departure, train, test, lateness, quality, gate, service, watch, retrain
)

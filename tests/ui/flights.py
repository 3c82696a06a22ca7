"""Will this flight leave New York more than 15 minutes late? Asked one hour before departure."""

import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier

import drivetrain as dt


@dt.dataset(key="flight_id", time="scheduled", label="late", later=["departed_at"], checks=[dt.not_null("carrier")])
def flights(until: str = "2013-04-01") -> pl.LazyFrame:
    """Every scheduled departure from the three airports, up to a day."""
    return dt.read("data/flights.parquet").filter(pl.col("scheduled") < pl.lit(until).str.to_datetime())


@dt.dataset
def weather() -> pl.LazyFrame:
    """What the stations measured, hour by hour."""
    return dt.read("data/weather.parquet")


@dt.features
def departure(flights: pl.LazyFrame, weather: pl.LazyFrame) -> pl.LazyFrame:
    """What is known an hour before. The very same function runs on the server."""
    joined = flights.sort("hour").join_asof(weather.sort("hour"), on="hour", by="origin")
    # A flight without a station keeps its row: the model knows how to treat what is missing.
    return joined.select("flight_id", "dep_hour", "distance_miles", "seats", "carrier", "origin", "wind_speed_mph")


train, test = dt.split(departure, test="21d")


@dt.model
def lateness(train: pl.DataFrame, learning_rate: float = 0.1, leaves: int = 31) -> HistGradientBoostingClassifier:
    """Boosted trees on what is known before departure."""
    x, y = dt.xy(train)
    return HistGradientBoostingClassifier(learning_rate=learning_rate, max_leaf_nodes=leaves).fit(x, y)


@dt.evaluation
def quality(lateness: HistGradientBoostingClassifier, test: pl.DataFrame) -> dt.metrics.Binary:
    """How well late flights are told from punctual ones, on three weeks the model has not seen."""
    return dt.metrics.binary(lateness, test)


gate = dt.Gate(lateness, require=[quality.auc >= 0.65, quality.auc > dt.champion])
service = dt.Service(lateness, canary=dt.Canary(share=0.2))
watch = dt.Monitor(service, window="7d")
retrain = dt.Trigger(watch.drift, dt.cron("0 3 * * 1"), settings={"flights.until": dt.now})

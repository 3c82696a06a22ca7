"""Will this flight leave New York more than 15 minutes late? Asked one hour before departure."""

import polars as pl
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import drivetrain as dt

WEATHER = (
    "temperature_f",
    "humidity_percent",
    "wind_mph",
    "gust_mph",
    "precipitation_inches",
    "pressure_hpa",
    "visibility_miles",
)


@dt.dataset(
    key="flight_id",
    time="scheduled",
    label="late",
    later=["departed_at", "arrival_delay_minutes", "air_time_minutes"],
    checks=[dt.unique("flight_id"), dt.not_null("carrier"), dt.between("distance_miles", 10, 6_000)],
)
def flights(until: str = "2013-04-01") -> pl.LazyFrame:
    """Every flight scheduled before `until`; one that had not left by then, or was cancelled, has no label."""
    moment = pl.lit(until).str.to_datetime()
    known = pl.when(pl.col("departed_at") < moment).then("late")
    return dt.read("data/flights.parquet").filter(pl.col("scheduled") < moment).with_columns(late=known)


@dt.dataset
def weather() -> pl.LazyFrame:
    """What each airport reports, hour by hour."""
    return dt.read("data/weather.parquet")


@dt.features
def departure(flights: pl.LazyFrame, weather: pl.LazyFrame) -> pl.LazyFrame:
    """What is known an hour before. The very same function runs on the server."""
    scheduled = pl.col("scheduled")
    asked = flights.with_columns(asked_at=scheduled.dt.offset_by("-1h")).sort("asked_at")
    seen = asked.join_asof(
        weather.sort("observed_at"),
        left_on="asked_at",
        right_on="observed_at",
        by="origin",
        tolerance="3h",
        check_sortedness=False,  # both sides are sorted above; polars cannot see it within a group
    )
    return seen.select(
        "flight_id",
        "carrier",
        "origin",
        "distance_miles",
        minute_of_day=scheduled.dt.hour().cast(pl.Int32) * 60 + scheduled.dt.minute(),
        weekday=scheduled.dt.weekday().cast(pl.Int32),
        # ONNX compares in 32 bits; values that are exact there fall on the same side of every split.
        **{name: pl.col(name).cast(pl.Float32) for name in WEATHER},
    )


train, test = dt.split(departure, test="21d")


@dt.model
def lateness(train: pl.DataFrame, learning_rate: float = 0.1) -> Pipeline:
    """Small boosted trees; a carrier not seen in training counts as -1, and a missing gust is a value of its own."""
    x, y = dt.xy(train)
    numbers = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    encode = make_column_transformer((numbers, ["carrier", "origin"]), remainder="passthrough")
    trees = HistGradientBoostingClassifier(learning_rate=learning_rate, max_leaf_nodes=15, random_state=0)
    return make_pipeline(encode, trees).fit(x, y)


@dt.evaluation
def quality(lateness: Pipeline, test: pl.DataFrame) -> dt.metrics.Binary:
    """How well it ranks the flights (AUC) and how true its probabilities are (Brier)."""
    return dt.metrics.binary(lateness, test)


gate = dt.Gate(lateness, require=[quality.auc >= 0.65, quality.auc > dt.champion, quality.brier < dt.champion])
service = dt.Service(lateness, canary=dt.Canary(share=0.2, metric="brier", at_least=500, within="14d"))

# Weather comes in spells of days: over a week, any week of the year differs from any quarter. Four weeks tell a season.
watch = dt.Monitor(
    service,
    window="28d",
    drift=dt.Drift(psi=0.25, at_least=4),
    quality=quality.brier <= 1.25 * dt.reference,
)
retrain = dt.Trigger(watch.drift, watch.quality, settings={"flights.until": dt.now})

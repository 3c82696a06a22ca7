"""The traffic of a service as a monitor needs it: read from the log once, kept small, and brought up to date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from heapq import nlargest
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from drivetrain.data.profile import counts
from drivetrain.registry.version import Version
from drivetrain.serving.log import Cursor, Segment, read_new
from drivetrain.store.record import now
from drivetrain.training.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from drivetrain.store.store import Store

# Steps are counted from a Monday at midnight, so that weeks and days are those of the calendar.
ANCHOR = datetime(1970, 1, 5, tzinfo=UTC)
# One stray row with a time in the far future must not close every window: so many must be as late.
WITNESSES = 5
# Rows that may still get their label are held in memory, some 100 bytes each. Beyond these, labels come too late.
MAX_ROWS = 1_000_000
_MICROSECOND = timedelta(microseconds=1)
_AT = pl.Datetime("us", "UTC")
_ROWS: dict[str, Any] = {
    "id": pl.String,
    "at": _AT,
    "version": pl.String,
    "key": pl.String,
    "time": _AT,
    "prediction": pl.Float64,
    "class": pl.String,
    "probabilities": pl.List(pl.Float64),
    "label": pl.String,
}
_LABELS: dict[str, Any] = {"at": _AT, "id": pl.String, "key": pl.String, "label": pl.String}


class Bucket:
    """What one version answered within one step: rows in each bin of each feature, and of the predictions."""

    def __init__(self) -> None:
        self.rows = 0
        self.features: dict[str, NDArray[np.int64]] = {}
        self.predictions: NDArray[np.int64] | None = None
        self.prediction_sum = 0.0

    def add(self, rows: pl.DataFrame, features: pl.DataFrame, reference: Reference | None) -> None:
        """Count more rows."""
        self.rows += len(rows)
        self.prediction_sum += float(rows["prediction"].sum() or 0.0)
        if reference is None:
            return
        for name, profile in reference.features.items():
            if name in features.columns:
                found = np.array(counts(features[name], profile), dtype=np.int64)
                self.features[name] = self.features[name] + found if name in self.features else found
        told = rows["class"] if rows["prediction"].null_count() else rows["prediction"]
        found = np.array(counts(told, reference.prediction), dtype=np.int64)
        self.predictions = found if self.predictions is None else self.predictions + found


class Traffic:
    """The rows of a service within the last `horizon`, and counts of them by version and step.

    `touched` has the version and step of what is new since it was last emptied. All of it follows from the log, so
    nothing is lost with the process: another one reads the log again, as far back as the horizon.
    """

    def __init__(self, store: Store, service: str, *, step: timedelta, horizon: timedelta) -> None:
        self.store, self.service, self.step, self.horizon = store, service, step, horizon
        self.rows = pl.DataFrame(schema=_ROWS)
        self.buckets: dict[tuple[str, int], Bucket] = {}
        self.touched: set[tuple[str, int]] = set()
        # The time of each version's first row.
        self.first_times: dict[str, datetime] = {}
        self.has_time = False
        self._labels = pl.DataFrame(schema=_LABELS)
        self._newest: list[datetime] = []
        self._newest_labelled: list[datetime] = []
        self._references: dict[str, Reference | None] = {}
        self._predictions_read, self._labels_read = self._begin()

    def read(self) -> bool:
        """Take in what the log has beyond what was read, and return whether that is anything."""
        # Labels first: a label's prediction is in the log before it.
        labels, labels_read = read_new(self.store, self.service, self._labels_read, kind="feedback")
        found, predictions_read = read_new(self.store, self.service, self._predictions_read)
        self._labels_read, self._predictions_read = labels_read, predictions_read
        if found.is_empty() and labels.is_empty():
            return False
        labels = labels.select(list(_LABELS))
        fresh = self._taken(found)
        before = pl.concat([self.rows, fresh])
        after = pl.concat([self.rows, _with_labels(fresh, self._labels)])
        after = _with_labels(after, labels) if len(labels) else after
        changed = after.filter(after["label"].ne_missing(before["label"]))
        self._touch(changed)
        self._newest_labelled = _latest([*self._newest_labelled, *_latest(changed["time"])])
        self.rows = after
        self._labels = pl.concat([self._labels, labels]).tail(MAX_ROWS)
        self._forget()
        return True

    def _taken(self, found: pl.DataFrame) -> pl.DataFrame:
        """Count new predictions and return them in the form of `rows`."""
        if found.is_empty():
            return pl.DataFrame(schema=_ROWS)
        self.has_time = self.has_time or found["time"].null_count() < len(found)
        is_number = found["prediction"].dtype.is_numeric()
        prediction = pl.col("prediction").cast(pl.Float64, strict=False)
        fresh = found.select(
            "id",
            "at",
            "version",
            "key",
            pl.coalesce("time", "at").alias("time"),
            prediction,
            pl.lit(None, pl.String).alias("class")
            if is_number
            else pl.col("prediction").cast(pl.String).alias("class"),
            "probabilities",
            pl.lit(None, pl.String).alias("label"),
        )
        steps = self.steps_of(fresh["time"])
        features = found["features"]
        marked = fresh.with_columns(steps.alias("step")).with_row_index("row")
        for (version, step), group in marked.group_by(["version", "step"], maintain_order=True):
            key = (str(version), int(step))
            bucket = self.buckets.setdefault(key, Bucket())
            bucket.add(group, features[group["row"]].struct.unnest(), self.reference(key[0]))
            self.touched.add(key)
            first = group["time"].min()
            assert isinstance(first, datetime)
            self.first_times[key[0]] = min(first, self.first_times.get(key[0], first))
        self._newest = _latest([*self._newest, *_latest(fresh["time"])])
        return fresh

    def reference(self, version: str) -> Reference | None:
        """Return what the version's features and predictions were like in training, where that is known."""
        if version not in self._references:
            known = self.store.ledger.get(Version, version)
            has_one = known is not None and known.reference
            self._references[version] = self.store.json(known.reference, Reference) if known and has_one else None
        return self._references[version]

    def steps_of(self, times: pl.Series) -> pl.Series:
        """Return the number of the step that each time lies in."""
        since = times.dt.epoch("us") - int(ANCHOR.timestamp() * 1_000_000)
        return since // (self.step // _MICROSECOND)

    def step_of(self, moment: datetime) -> int:
        """Return the number of the step that a moment lies in."""
        return (moment - ANCHOR) // self.step

    def start_of(self, step: int) -> datetime:
        """Return the moment at which a step begins."""
        return ANCHOR + step * self.step

    @property
    def watermark(self) -> datetime:
        """How far the service's time has come: that of its rows where they have one, else the clock."""
        if not self.has_time:
            return now()
        return self._newest[-1]

    @property
    def last_end(self) -> datetime:
        """The end of the last step that there are counts of."""
        return self.start_of(max((step for _, step in self.buckets), default=-1) + 1)

    @property
    def label_watermark(self) -> datetime | None:
        """The latest time of a row whose label has arrived; None where none has."""
        return self._newest_labelled[-1] if self._newest_labelled else None

    @property
    def present(self) -> datetime:
        """What `drivetrain.now` stands for."""
        if not self.has_time:
            return now()
        return self.label_watermark or self.watermark

    def of(self, version: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Return the rows of a version from `start` to `end`, not included."""
        column = pl.col("time")
        return self.rows.filter((pl.col("version") == version) & (column >= start) & (column < end))

    def bucket(self, version: str, start: datetime, end: datetime) -> Bucket:
        """Return the counts of a version from `start` to `end`, both the beginning of a step."""
        total = Bucket()
        for step in range(self.step_of(start), self.step_of(end)):
            part = self.buckets.get((version, step))
            if part is None:
                continue
            total.rows += part.rows
            total.prediction_sum += part.prediction_sum
            for name, found in part.features.items():
                total.features[name] = total.features[name] + found if name in total.features else found
            if part.predictions is not None:
                total.predictions = (
                    part.predictions if total.predictions is None else total.predictions + part.predictions
                )
        return total

    def _touch(self, changed: pl.DataFrame) -> None:
        marked = changed.select("version", self.steps_of(changed["time"]).alias("step")).unique()
        self.touched.update((str(version), int(step)) for version, step in marked.iter_rows())

    def _forget(self) -> None:
        """Let go of rows and counts from before the horizon."""
        oldest = self.watermark - self.horizon
        if len(self.rows) > MAX_ROWS or (len(self.rows) and self.rows["time"][0] < oldest - self.horizon / 4):
            self.rows = self.rows.filter(pl.col("time") >= oldest).tail(MAX_ROWS)
        first = self.step_of(oldest)
        for key in [key for key in self.buckets if key[1] < first]:
            del self.buckets[key]

    def _begin(self) -> tuple[Cursor, Cursor]:
        """Return where in the log to begin: sealed segments from before the horizon are left out."""
        ledger = self.store.ledger
        newest = ledger.find(
            Segment, {"service": self.service, "kind": "predictions"}, order="-number", limit=WITNESSES
        )
        if not newest:
            return Cursor(), Cursor()
        oldest = max(_last(segment) for segment in newest) - self.horizon
        kept = ledger.find(Segment, {"service": self.service, "kind": "predictions"}, order="number")
        kept = kept[next(place for place, segment in enumerate(kept) if _last(segment) >= oldest) :]
        began_at = min(segment.first_at for segment in kept)
        labels = ledger.find(
            Segment, {"service": self.service, "kind": "feedback", "last_at >=": began_at}, order="number"
        )
        first_labels = labels[0].number - 1 if labels else newest[0].number
        return Cursor(number=kept[0].number - 1), Cursor(number=first_labels)


def _latest(times: Iterable[datetime]) -> list[datetime]:
    return nlargest(WITNESSES, times)


def _last(segment: Segment) -> datetime:
    return segment.last_time or segment.last_at


def _with_labels(rows: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the latest label that was sent for each, by its id or else by its key."""
    by_id = labels.filter(pl.col("id").is_not_null()).unique("id", keep="last", maintain_order=True)
    by_key = labels.filter(pl.col("key").is_not_null()).unique("key", keep="last", maintain_order=True)
    found = rows.join(by_id.select("id", by_id="label"), on="id", how="left", maintain_order="left")
    found = found.join(by_key.select("key", by_key="label"), on="key", how="left", maintain_order="left")
    return found.with_columns(pl.coalesce("by_id", "by_key", "label").alias("label")).drop("by_id", "by_key")

"""A window: what was predicted in a stretch of time, compared with what training saw and what came true."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from drivetrain.store.record import Record


class Window(Record, frozen=True, kw_only=True):
    """The figures of one version over one stretch of time, from `starts_at` up to, not including, `ends_at`.

    Times are those of the data where the dataset has a time column, else those of the clock. `drift` is the population
    stability index of each feature against training; `quality` has the metrics over the rows whose label has arrived.
    """

    TABLE: ClassVar[str] = "window"
    KEY: ClassVar[tuple[str, ...]] = ("monitor", "version", "starts_at")

    monitor: str
    service: str
    version: str
    starts_at: datetime
    ends_at: datetime
    rows: int
    labelled: int
    drift: dict[str, float] = {}
    prediction_drift: float = 0.0
    mean_prediction: float | None = None
    mean_label: float | None = None
    quality: dict[str, float] = {}
    # The version had answered since the window began.
    is_full: bool = True
    # The data's time has passed the window's end; and labels have arrived of rows as late as that.
    is_closed: bool = False
    has_labels: bool = False
    at: datetime


class Alert(Record, frozen=True, kw_only=True):
    """A rule of a monitor began to hold, and until when it held."""

    TABLE: ClassVar[str] = "alert"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("monitor", "rule"),)

    id: str
    monitor: str
    rule: str
    version: str
    message: str
    raised_at: datetime
    cleared_at: datetime | None = None
    # The moment in the world of the data.
    happened_at: datetime | None = None
    evidence: dict[str, float] = {}


class Signal(Record, frozen=True, kw_only=True):
    """The golden signals of a service over a few seconds: traffic, errors, latency, saturation."""

    TABLE: ClassVar[str] = "signal"
    KEY: ClassVar[tuple[str, ...]] = ("service", "at")

    service: str
    at: datetime
    seconds: float
    requests: int
    rows: int
    errors: int
    latency_p50_ms: float
    latency_p99_ms: float
    # The share of time in which a worker was busy, averaged over the workers.
    busy_share: float
    workers: int
    # Rows whose answer was known already.
    known: int = 0

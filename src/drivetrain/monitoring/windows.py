"""The windows of a monitor: which of them changed, and the figures of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.monitoring.drift import indexes
from drivetrain.monitoring.quality import figures, known
from drivetrain.monitoring.window import Window
from drivetrain.registry.version import Version
from drivetrain.store.record import now

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from drivetrain.monitoring.monitor import Monitor
    from drivetrain.monitoring.traffic import Traffic


def ends_to_look_at(
    monitor: Monitor, traffic: Traffic, touched: Iterable[int], *, since: datetime | None
) -> list[datetime]:
    """Return the end of each window that needs a new look: those with new rows or labels, and those just over.

    `since` is the watermark of the look before. The last window is the one that the watermark lies in.
    """
    per_step = monitor.step // traffic.step
    length = monitor.length // monitor.step
    last = traffic.step_of(traffic.watermark) // per_step + 1
    numbers: set[int] = set()
    for step in touched:
        first = step // per_step + 1
        numbers.update(range(first, min(first + length, last + 1)))
    if since is not None:
        numbers.update(range(traffic.step_of(since) // per_step + 1, last + 1))
    return [traffic.start_of(number * per_step) for number in sorted(numbers)]


def look(monitor: Monitor, traffic: Traffic, version: Version, end: datetime) -> Window | None:
    """Return the figures of a version over the window that ends at `end`; None where it answered nothing in it."""
    start = end - monitor.length
    total = traffic.bucket(version.id, start, end)
    if not total.rows:
        return None
    drift: dict[str, float] = {}
    prediction_drift = 0.0
    reference = traffic.reference(version.id)
    if reference is not None:
        before = {name: profile.bins.counts for name, profile in reference.features.items()}
        drift = indexes(before, {name: counts.tolist() for name, counts in total.features.items()})
        if total.predictions is not None:
            both = {"": reference.prediction.bins.counts}
            prediction_drift = indexes(both, {"": total.predictions.tolist()})[""]
    signature = version.signature
    truth, predicted = known(signature, traffic.of(version.id, start, end))
    has_mean = signature.is_numeric
    labels_until = traffic.label_watermark
    return Window(
        monitor=monitor.name,
        service=traffic.service,
        version=version.id,
        starts_at=start,
        ends_at=end,
        rows=total.rows,
        labelled=len(truth),
        drift=drift,
        prediction_drift=prediction_drift,
        mean_prediction=total.prediction_sum / total.rows if has_mean else None,
        mean_label=float(truth.mean()) if has_mean and len(truth) else None,
        quality=figures(signature, truth, predicted),
        is_full=traffic.step_of(traffic.first_times[version.id]) <= traffic.step_of(start),
        is_closed=traffic.watermark >= end,
        has_labels=labels_until is not None and labels_until >= end,
        at=now(),
    )

"""A monitor: what of a service is watched, and from where on a figure is an alarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from drivetrain.errors import BadSetting, DeclarationError
from drivetrain.monitoring.duration import duration
from drivetrain.serving.service import Service
from drivetrain.system.caller import caller
from drivetrain.system.part import Part

if TYPE_CHECKING:
    from datetime import timedelta

    from drivetrain.registry.version import Task

Rule = Literal["drift", "prediction_drift", "quality"]

# The metrics that are watched when none is named.
USUAL_METRICS: dict[Task, tuple[str, ...]] = {
    "binary": ("brier", "auc"),
    "multiclass": ("log_loss",),
    "regression": ("mae",),
}


class Watch(msgspec.Struct, frozen=True, eq=False):
    """One rule of a monitor, for a `Trigger` to wait for: `watch.drift`, `watch.prediction_drift`, `watch.quality`."""

    monitor: Monitor
    rule: Rule

    def __str__(self) -> str:
        return f"{self.monitor.name}.{self.rule}"


class Monitor(Part, frozen=True, eq=False):
    """What a version sees and says, compared window by window with its training: `Monitor(service, window="7d")`.

    A window is a stretch of the data's own time where the dataset has a time column, else of the clock. Three rules
    look at each window once it is over:

    - `drift`: `moved` or more features have a population stability index above `drift_limit`;
    - `prediction_drift`: the predictions have one above the same limit; this needs no labels;
    - `quality`: a metric over the labels that arrived is worse than the version's own on its test rows by more than
      the factor `quality_limit`. With 1.2, an error may grow to 1.2 times what it was, and the distance of an AUC from
      0.5 may shrink by the same factor. The metrics follow from the task; a dict names others, each with its factor:
      `{"brier": 1.25}`.

    An alert is raised when a rule has failed in `settle` windows in a row, and cleared when it has held in as many.
    Windows with fewer than `min_rows` rows (for quality: labels) are not judged. `columns` restricts drift to these
    features; None in place of a limit switches a rule off.
    """

    ROLE: ClassVar[str] = "monitor"

    service: Service
    window: str = "1d"
    drift_limit: float | None = 0.2
    quality_limit: float | Mapping[str, float] | None = 1.2
    moved: int = 1
    columns: Sequence[str] = ()
    settle: int = 2
    min_rows: int = 200

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "place", caller())
        if getattr(self.service, "ROLE", "") != "service":
            raise DeclarationError(
                f"a monitor watches a service, and {self.service!r} is none",
                remedy="give it a value such as `service = dt.Service(model)`",
                place=self.place,
            )
        try:
            duration(self.window)
        except ValueError as error:
            raise self._bad("window", self.window, str(error)) from error
        for name in ("moved", "settle", "min_rows"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise self._bad(name, getattr(self, name), "it must be a whole number, 1 or more")
        if self.drift_limit is not None and not _is_above(self.drift_limit, 0):
            raise self._bad("drift_limit", self.drift_limit, "it must be above 0, usually 0.1 to 0.3; None is off")
        factors = self.quality_limit.values() if isinstance(self.quality_limit, Mapping) else [self.quality_limit]
        if self.quality_limit is not None and not all(_is_above(factor, 1) for factor in factors):
            raise self._bad("quality_limit", self.quality_limit, "a factor must be above 1, such as 1.2; None is off")
        if isinstance(self.columns, str):
            raise self._bad("columns", self.columns, "it must be a list of feature names")

    def _bad(self, name: str, found: object, right: str) -> BadSetting:
        return BadSetting(setting=f"{name} of a monitor", found=repr(found), right=right, place=self.place)

    @property
    def drift(self) -> Watch:
        """The rule that features are distributed as in training."""
        return Watch(self, "drift")

    @property
    def prediction_drift(self) -> Watch:
        """The rule that predictions are distributed as in training."""
        return Watch(self, "prediction_drift")

    @property
    def quality(self) -> Watch:
        """The rule that metrics are as good as on the test rows."""
        return Watch(self, "quality")

    @property
    def length(self) -> timedelta:
        """The length of a window."""
        return duration(self.window)

    def factors(self, task: Task) -> dict[str, float]:
        """Return each metric that is watched, with the factor by which it may be worse."""
        if self.quality_limit is None:
            return {}
        if isinstance(self.quality_limit, Mapping):
            return dict(self.quality_limit)
        return dict.fromkeys(USUAL_METRICS[task], self.quality_limit)

    def refers(self) -> tuple[Part, ...]:
        return (self.service,)

    def outputs(self) -> dict[str, Any]:
        return {}

    def declared(self) -> dict[str, Any]:
        return {"service": self.service.name, "window": self.window}


def _is_above(value: object, low: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low < value < float("inf")

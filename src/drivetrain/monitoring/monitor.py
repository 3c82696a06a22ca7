"""A monitor: what of a service is watched, and from where on a figure is an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from drivetrain.data.duration import duration
from drivetrain.errors import BadSetting, DeclarationError, UnknownName
from drivetrain.serving.service import Service
from drivetrain.system.caller import caller
from drivetrain.system.declaration import Declared
from drivetrain.system.part import Part
from drivetrain.training.evaluation import Condition
from drivetrain.training.metrics import names_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Rule = Literal["drift", "prediction_drift", "quality"]
_DAY = timedelta(days=1)


class Drift(msgspec.Struct, frozen=True, kw_only=True, metaclass=Declared):
    """When inputs count as drifted: `at_least` features have a population stability index above `psi`.

    `columns` restricts it to these features; without it, all count.

    >>> Drift(psi=0.25, at_least=4).psi
    0.25
    """

    psi: float = 0.25
    at_least: int = 1
    columns: Sequence[str] = ()


class Watch(msgspec.Struct, frozen=True, eq=False):
    """One rule of a monitor, for a `Trigger` to wait for: `watch.drift`, `watch.prediction_drift`, `watch.quality`."""

    monitor: Monitor
    rule: Rule

    def __str__(self) -> str:
        return f"{self.monitor.name}.{self.rule}"


class Monitor(Part, frozen=True, eq=False):
    """What a version sees and says, compared with its training: `Monitor(service, window="7d", drift=0.25)`.

    A window slides: every `every`, the last stretch of the length `window` is looked at, in the data's own time where
    the dataset has a time column, else by the clock. Three rules judge it once its version has been there for all of
    it:

    - `drift`: features are distributed otherwise than in training; a number is a limit for `Drift(psi=...)`;
    - `prediction_drift`: the same for the predictions, which needs no labels;
    - `quality`: a metric over the labels that have arrived breaks a condition such as
      `quality.brier <= 1.25 * dt.reference`, where the reference is what the version's own evaluation found. A number
      is the factor by which the usual metrics of the task may be worse: with 1.25, an error may be 1.25 times what it
      was, and the distance of an AUC from 0.5 may shrink by as much.

    An alert is raised when a rule has failed in `settle` looks in a row, and cleared when it has held in as many. With
    fewer than `min_rows` rows (for quality: labels) a window is not judged. None in place of a limit switches a rule
    off. By default `every` is a day, or the window where that is shorter.
    """

    ROLE: ClassVar[str] = "monitor"
    # As attributes, the words are the rules that a trigger waits for.
    WORDS: ClassVar[Mapping[str, str]] = {"drift": "drift_limit", "quality": "quality_limit"}

    service: Service
    window: str = "7d"
    every: str = ""
    settle: int = 2
    min_rows: int = 200
    drift_limit: Drift | None = Drift()
    quality_limit: float | tuple[Condition, ...] | None = 1.25

    if TYPE_CHECKING:

        def __init__(
            self,
            service: Service,
            *,
            window: str = "7d",
            every: str = "",
            drift: float | Drift | None = 0.25,
            quality: float | Condition | Sequence[Condition] | None = 1.25,
            settle: int = 2,
            min_rows: int = 200,
            name: str = "",
        ) -> None: ...

    def __post_init__(self) -> None:
        # Until here the limits may be in any form that a user may write.
        drift: Any = self.drift_limit
        quality: Any = self.quality_limit
        put = msgspec.structs.force_setattr
        put(self, "place", caller())
        put(self, "drift_limit", Drift(psi=drift) if isinstance(drift, (int, float)) else drift)
        if isinstance(quality, Condition | list):
            put(self, "quality_limit", tuple(quality) if isinstance(quality, list) else (quality,))
        if getattr(self.service, "ROLE", "") != "service":
            raise DeclarationError(
                f"a monitor watches a service, and {self.service!r} is none",
                remedy="give it a value such as `service = dt.Service(model)`",
                place=self.place,
            )
        for name, text in {"window": self.window, "every": self.every or self.window}.items():
            duration(text, f"{name} of a monitor", place=self.place)
        if self.length % self.step:
            raise self._bad("every", self.every, f"the window {self.window} must be a whole number of it")
        for name in ("settle", "min_rows"):
            if not _is_count(getattr(self, name)):
                raise self._bad(name, getattr(self, name), "it must be a whole number, 1 or more")
        self._check_drift()
        self._check_quality()

    def _check_drift(self) -> None:
        limit: Any = self.drift_limit
        if limit is None:
            return
        if not isinstance(limit, Drift) or not 0 < limit.psi < 100:
            raise self._bad("drift", limit, "a limit is above 0, usually 0.1 to 0.3; None switches the rule off")
        if not _is_count(limit.at_least):
            raise self._bad("drift", limit, "`at_least` must be a number of features, 1 or more")
        if isinstance(limit.columns, str):
            raise self._bad("drift", limit, "`columns` must be a list of features")

    def _check_quality(self) -> None:
        limit: Any = self.quality_limit
        if limit is None or (isinstance(limit, (int, float)) and 1 < limit < 1_000):
            return
        if not isinstance(limit, tuple) or not limit or not all(isinstance(each, Condition) for each in limit):
            raise self._bad(
                "quality",
                limit,
                "write a factor above 1, or a condition such as `quality.brier <= 1.25 * dt.reference`",
            )
        for condition in limit:
            if condition.against == "champion":
                raise self._bad("quality", str(condition), "a version is compared with a number or with `dt.reference`")

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

    @property
    def step(self) -> timedelta:
        """How far a window slides between two looks."""
        return duration(self.every) if self.every else min(_DAY, self.length) if not self.length % _DAY else self.length

    def refers(self) -> tuple[Part, ...]:
        return (self.service,)

    def outputs(self) -> dict[str, Any]:
        return {}

    def check(self, parts: Mapping[str, Part]) -> None:
        model = self.service.model
        known = names_of(model.task)
        for condition in self.quality_limit if isinstance(self.quality_limit, tuple) else ():
            if condition.metric not in known:
                raise UnknownName(kind="metric of live labels", name=condition.metric, known=known, place=self.place)
            judge = parts.get(condition.judge)
            if condition.against and (judge is None or model.name not in judge.needs(parts)):
                raise self._bad("quality", str(condition), f"compare a metric of an evaluation of {model.name!r}")

    def check_features(self, known: Collection[str]) -> None:
        """Refuse to watch a feature that the model does not have; a gate asks, once they are known.

        Raises:
            UnknownName: `drift` names one.
        """
        for name in self.drift_limit.columns if self.drift_limit else ():
            if name not in known:
                raise UnknownName(
                    kind=f"feature of {self.service.model.name!r}", name=name, known=known, place=self.place
                )

    def declared(self) -> dict[str, Any]:
        return {"service": self.service.name, "window": self.window}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1

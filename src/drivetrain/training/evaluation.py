"""An evaluation: the figures that tell how good a model is, and the conditions that are written with them."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, Unpack, is_typeddict, overload

import msgspec

from drivetrain.errors import DeclarationError, StepFailed, UnknownMetric
from drivetrain.system.caller import caller
from drivetrain.system.conduct import name_of
from drivetrain.system.declaration import declares
from drivetrain.system.function import FunctionPart
from drivetrain.system.part import Job, Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivetrain.system.conduct import Options

Operator = Literal[">=", ">", "<=", "<"]


class Standard(msgspec.Struct, frozen=True, eq=False):
    """Something whose own value of a metric is the limit: `champion`, or `reference`, with a factor and an offset.

    >>> str(0.98 * champion), str(champion + 0.01)
    ('0.98 * champion', 'champion + 0.01')
    """

    name: Literal["champion", "reference"]
    factor: float = 1.0
    offset: float = 0.0

    def __add__(self, offset: float) -> Standard:
        return Standard(self.name, self.factor, self.offset + offset)

    __radd__ = __add__

    def __sub__(self, offset: float) -> Standard:
        return self + -offset

    def __mul__(self, factor: float) -> Standard:
        return Standard(self.name, self.factor * factor, self.offset * factor)

    __rmul__ = __mul__

    def __str__(self) -> str:
        text = self.name if self.factor == 1 else f"{self.factor:g} * {self.name}"
        if self.offset:
            text += f" {'+' if self.offset > 0 else '-'} {abs(self.offset):g}"
        return text


champion = Standard("champion")
"""The version that answers at present: its own value of a metric, on the same rows."""

reference = Standard("reference")
"""What the version's own evaluation found before it went live."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """A metric compared with a number, or with another one's value of the same metric.

    `limit` is None where `against` names whose value counts; the limit then is `factor` times that, plus `offset`.

    >>> condition = Condition(evaluation="quality", metric="auc", operator=">=", limit=0.65)
    >>> str(condition), condition.holds(0.7, 0.65)
    ('quality.auc >= 0.65', True)
    """

    # Its name, or that of a part which may get it only when the system is put together: the part itself.
    evaluation: Any
    metric: str
    operator: Operator
    limit: float | None = None
    against: Literal["", "champion", "reference"] = ""
    factor: float = 1.0
    offset: float = 0.0

    @property
    def against_champion(self) -> bool:
        """Whether the limit is the champion's own value."""
        return self.against == "champion"

    @property
    def judge(self) -> str:
        """The name of the part that gives the metric."""
        return name_of(self.evaluation)

    @property
    def name(self) -> str:
        """The metric with its evaluation: `quality.auc`."""
        return f"{self.judge}.{self.metric}"

    def limit_from(self, value: float) -> float:
        """Return the limit where the champion, or the reference, has this value."""
        return self.limit if self.limit is not None else self.factor * value + self.offset

    def holds(self, found: float, limit: float) -> bool:
        """Return whether the comparison holds; with a NaN none does."""
        if self.operator == ">=":
            return found >= limit
        if self.operator == ">":
            return found > limit
        return found <= limit if self.operator == "<=" else found < limit

    def __str__(self) -> str:
        limit = Standard(self.against, self.factor, self.offset) if self.against else f"{self.limit:g}"
        return f"{self.name} {self.operator} {limit}"

    def __bool__(self) -> bool:
        # `0.6 <= quality.auc <= 0.9` would drop its first half without a word.
        raise DeclarationError(
            f"the condition {self} has no truth value before a run",
            remedy="list conditions one by one, without `and`, `or`, `not` or a chain of comparisons",
            place=caller(),
        )


class Measure(msgspec.Struct, frozen=True, eq=False):
    """A metric of an evaluation, to be compared; comparing gives a `Condition`."""

    evaluation: Any
    metric: str

    def __ge__(self, limit: float | Standard) -> Condition:
        return self._compared(">=", limit)

    def __gt__(self, limit: float | Standard) -> Condition:
        return self._compared(">", limit)

    def __le__(self, limit: float | Standard) -> Condition:
        return self._compared("<=", limit)

    def __lt__(self, limit: float | Standard) -> Condition:
        return self._compared("<", limit)

    def _compared(self, operator: Operator, limit: float | Standard) -> Condition:
        if isinstance(limit, Standard):
            return Condition(
                evaluation=self.evaluation,
                metric=self.metric,
                operator=operator,
                against=limit.name,
                factor=limit.factor,
                offset=limit.offset,
            )
        if not _is_number(limit):
            raise DeclarationError(
                f"{self} is compared with {limit!r}",
                remedy=f"compare it with a number or with dt.champion, for example `{self} {operator} 0.65`",
                place=caller(),
            )
        return Condition(evaluation=self.evaluation, metric=self.metric, operator=operator, limit=float(limit))

    def __str__(self) -> str:
        return f"{name_of(self.evaluation)}.{self.metric}"


class Evaluation(FunctionPart, frozen=True, kw_only=True, eq=False):
    """A function that judges a model and returns figures by name.

    Each figure is an attribute to write conditions with: `quality.auc >= 0.65`. `quality["name"]` is the other form,
    for a figure with the name of something that a part has.
    """

    ROLE = "evaluation"

    def __getattr__(self, metric: str) -> Measure:
        # What Python, notebooks and test runners look for in any object is no metric.
        if metric.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {metric!r}")
        return self[metric]

    def __getitem__(self, metric: str) -> Measure:
        if not isinstance(metric, str):  # iterating over the part comes here with numbers
            raise TypeError("a metric is named by text")
        known = self.metrics()
        if known is not None and metric not in known:
            raise UnknownMetric(evaluation=self.name, metric=metric, known=known, place=caller())
        return Measure(self.name, metric)

    def metrics(self) -> tuple[str, ...] | None:
        """Return the names of the figures where the annotation tells them, as a TypedDict does."""
        hint = self.annotations().get("return")
        return tuple(hint.__annotations__) if is_typeddict(hint) else None

    def outputs_from(self, result: Any, job: Job) -> dict[str, Output]:
        scalars = scalars_of(result)
        if not scalars:
            held = f"with {', '.join(map(str, result)) or 'nothing in it'}" if isinstance(result, dict) else ""
            failed = StepFailed(
                step=self.name,
                cause=f"it returned {type(result).__name__} {held}".rstrip() + ", and no finite number by name",
                place=self.place,
            )
            failed.remedy = 'return a dict of figures, such as `{"auc": 0.7}` or `dt.metrics.binary(model, test)`'
            raise failed
        for name, value in scalars.items():
            job.log(name, value)
        return {self.name: Output(result, {"metrics": scalars})}


@overload
def evaluation(function: Callable[..., Any], /) -> Evaluation: ...
@overload
def evaluation(**options: Unpack[Options]) -> Callable[[Callable[..., Any]], Evaluation]: ...
@declares
def evaluation(function: Callable[..., Any] | None = None, /, **options: Unpack[Options]) -> Any:
    """Declare a function that judges a model: it returns a dict of figures. `options` are those of `step`.

    >>> @evaluation
    ... def quality(lateness: object, test: object) -> dict[str, float]:
    ...     return {"auc": 0.7}
    >>> str(quality.auc > champion)
    'quality.auc > champion'
    """
    if function is not None:
        return Evaluation.of(function)
    return lambda function: Evaluation.of(function, options=options)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def scalars_of(figures: Any) -> dict[str, float]:
    """Return the finite numbers among what an evaluation returned, as Python's own.

    >>> scalars_of({"auc": 0.7, "curve": [0.1, 0.2], "brier": float("nan")})
    {'auc': 0.7}
    """
    found = {}
    for name, value in figures.items() if isinstance(figures, dict) else ():
        # A numpy number of any width has `item`; an array of more than one value is none.
        plain = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
        if isinstance(plain, (int, float)) and isfinite(plain):
            found[str(name)] = float(plain)
    return found

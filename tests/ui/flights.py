"""Will this flight leave New York more than 15 minutes late? Asked one hour before departure.

The console's tests look at this system; its parts stand in for real ones, so that nothing has to be run.
"""

from __future__ import annotations

from typing import Any

from drivetrain.system.function import FunctionPart, Step
from drivetrain.system.part import Part


class Dataset(FunctionPart, frozen=True, kw_only=True, eq=False):
    ROLE = "dataset"


class Features(FunctionPart, frozen=True, kw_only=True, eq=False):
    ROLE = "features"


class Model(FunctionPart, frozen=True, kw_only=True, eq=False):
    ROLE = "model"


class Evaluation(FunctionPart, frozen=True, kw_only=True, eq=False):
    ROLE = "evaluation"


class Gate(Part, frozen=True, kw_only=True, eq=False):
    ROLE = "gate"
    RUNS = True

    takes: tuple[str, ...] = ()

    def needs(self, parts: Any) -> dict[str, str]:
        return {name: name for name in self.takes}


class Beside(Part, frozen=True, kw_only=True, eq=False):
    """A part that a run does not execute."""

    of: tuple[Part, ...] = ()

    def refers(self) -> tuple[Part, ...]:
        return self.of

    def outputs(self) -> dict[str, Any]:
        return {}


class Service(Beside, frozen=True, kw_only=True, eq=False):
    ROLE = "service"


class Monitor(Beside, frozen=True, kw_only=True, eq=False):
    ROLE = "monitor"


class Trigger(Beside, frozen=True, kw_only=True, eq=False):
    ROLE = "trigger"


@Dataset.of
def flights(until: str = "2013-04-01") -> list[dict[str, object]]:
    """Every scheduled departure from the three airports, up to a day."""
    return [{"flight_id": 1, "carrier": "UA", "until": until}]


@Dataset.of
def weather() -> list[dict[str, object]]:
    """What the stations measured, hour by hour."""
    return [{"origin": "EWR", "wind_speed_mph": 10.4}]


@Features.of
def departure(flights: list[Any], weather: list[Any]) -> list[Any]:
    """What is known an hour before. The very same function runs on the server."""
    by_origin = {row["origin"]: row for row in weather}
    return [
        # A flight without a station keeps its row: the model knows how to treat what is missing.
        {**flight, "wind_speed_mph": by_origin.get(flight.get("origin"), {}).get("wind_speed_mph")}
        for flight in flights
    ]


def _split(departure: list[Any], test: str = "21d") -> tuple[list[Any], list[Any]]:
    return departure, departure[:0]


split = Step(name="split", function=_split, outputs_named=("train", "test"))


@Model.of
def lateness(train: list[Any], learning_rate: float = 0.1, leaves: int = 31) -> dict[str, float]:
    """Boosted trees on what is known before departure."""
    return {"learning_rate": learning_rate, "leaves": leaves, "rows": len(train)}


@Evaluation.of
def quality(lateness: dict[str, float], test: list[Any]) -> dict[str, float]:
    """How well late flights are told from punctual ones, on three weeks the model has not seen."""
    return {"auc": 0.7, "rows": len(test)}


gate = Gate(takes=("lateness", "quality"))
service = Service(of=(gate,))
watch = Monitor(of=(service,))
retrain = Trigger(of=(watch,))

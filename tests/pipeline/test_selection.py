"""Which parts a run is for: names, patterns, and the arrows around them."""

from __future__ import annotations

import pytest

import drivetrain as dt
from drivetrain.errors import UnknownName, UsageError
from drivetrain.pipeline.plan import make_plan, steps_matching


@dt.step
def raw_flights() -> int:
    return 1


@dt.step
def raw_weather() -> int:
    return 2


@dt.step(outputs=["left", "right"])
def features(raw_flights: int) -> tuple[int, int]:
    return raw_flights, raw_flights


@dt.step
def model(left: int) -> int:
    return left


@dt.step
def report(model: int, raw_weather: int) -> int:
    return model + raw_weather


SYSTEM = dt.System("lab", raw_flights, raw_weather, features, model, report)


@pytest.mark.parametrize(
    ("targets", "without", "steps"),
    [
        ([], [], {"raw_flights", "raw_weather", "features", "model", "report"}),
        (["model"], [], {"raw_flights", "features", "model"}),
        (["+model"], [], {"raw_flights", "features", "model"}),
        (["left"], [], {"raw_flights", "features"}),
        (["features+"], [], {"raw_flights", "features", "model", "report", "raw_weather"}),
        (["+model+"], [], {"raw_flights", "features", "model", "report", "raw_weather"}),
        (["raw_*"], [], {"raw_flights", "raw_weather"}),
        (["raw_w*+"], [], {"raw_flights", "raw_weather", "features", "model", "report"}),
        ([], ["report"], {"raw_flights", "raw_weather", "features", "model"}),
        ([], ["raw_flights"], {"raw_weather"}),
        (["features+"], ["report"], {"raw_flights", "features", "model"}),
        (["raw_*", "model"], ["*_weather"], {"raw_flights", "features", "model"}),
    ],
)
def test_what_is_selected(targets: list[str], without: list[str], steps: set[str]) -> None:
    assert set(make_plan(SYSTEM, targets=targets, without=without).steps) == steps


@pytest.mark.parametrize(
    ("targets", "without", "kind", "told"),
    [
        (["modle+"], [], UnknownName, "did you mean model"),
        (["raww_*"], [], UnknownName, "no part is named 'raww_\\*'"),
        ([], ["reprot"], UnknownName, "did you mean report"),
        (["model"], ["model"], UsageError, "'model' is asked for, and it is left out"),
        (["model"], ["raw_flights"], UsageError, "depends on 'raw_flights', which is left out"),
        ([], ["*"], UsageError, "nothing is left to run"),
    ],
)
def test_what_cannot_be_is_refused(targets: list[str], without: list[str], kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told) as refused:
        make_plan(SYSTEM, targets=targets, without=without)
    assert getattr(refused.value, "remedy", "")


def test_items_of_what_is_not_mapped_cannot_be_forced() -> None:
    with pytest.raises(UnknownName, match="mapped step"):
        steps_matching(make_plan(SYSTEM), ["model[2013-01]"])

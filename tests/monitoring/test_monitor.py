from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.monitoring.traffic_of import late, service_of

from drivetrain.errors import BadSetting, DeclarationError, UnknownName
from drivetrain.monitoring.cron import cron
from drivetrain.monitoring.monitor import Drift, Monitor
from drivetrain.monitoring.trigger import Trigger, now
from drivetrain.training.evaluation import Measure, champion, evaluation, reference

SERVICE = service_of()
BRIER = Measure("quality", "brier")


def test_a_number_is_short_for_a_limit_of_drift() -> None:
    assert Monitor(SERVICE, drift=0.3).drift_limit == Drift(psi=0.3)


def test_rules_are_told_by_the_names_of_their_limits() -> None:
    watch = Monitor(SERVICE, drift=0.3, quality=1.25 * reference >= BRIER, name="watch")

    assert [str(rule) for rule in (watch.drift, watch.prediction_drift, watch.quality)] == [
        "watch.drift",
        "watch.prediction_drift",
        "watch.quality",
    ]


@pytest.mark.parametrize(("window", "every", "expected"), [("28d", "", "1d"), ("6h", "", "6h"), ("7d", "7d", "7d")])
def test_a_window_slides_by_a_day_unless_it_is_shorter(window: str, every: str, expected: str) -> None:
    lengths = {"1d": timedelta(days=1), "6h": timedelta(hours=6), "7d": timedelta(days=7)}

    assert Monitor(SERVICE, window=window, every=every).step == lengths[expected]


@pytest.mark.parametrize(
    "options",
    [
        {"window": "a week"},
        {"window": "0d"},
        {"window": "7d", "every": "2d"},
        {"drift": 0},
        {"drift": Drift(at_least=0)},
        {"drift": Drift(columns="wind")},
        {"quality": 0.9},
        {"quality": []},
        {"quality": ["brier"]},
        {"quality": champion > BRIER},
        {"settle": 0},
        {"min_rows": True},
    ],
)
def test_a_limit_that_cannot_be_says_where_it_stands(options: dict[str, Any]) -> None:
    with pytest.raises(BadSetting) as seen:
        Monitor(SERVICE, **options)

    assert seen.value.place is not None
    assert seen.value.place.file.endswith("test_monitor.py")


def test_only_a_service_can_be_watched() -> None:
    with pytest.raises(DeclarationError, match="watches a service"):
        Monitor(late)  # type: ignore[arg-type]  # the mistake that is tested


def test_a_metric_that_live_labels_do_not_give_is_refused() -> None:
    watch = Monitor(SERVICE, quality=Measure("quality", "profit") >= 3, name="watch")

    with pytest.raises(UnknownName, match="profit"):
        watch.check({})


def test_a_misspelt_metric_is_told_the_nearest() -> None:
    watch = Monitor(SERVICE, quality=Measure("quality", "bried") <= 0.2, name="watch")

    with pytest.raises(UnknownName, match="did you mean brier"):
        watch.check({})


def test_a_reference_needs_an_evaluation_of_the_model_that_is_watched() -> None:
    watch = Monitor(SERVICE, quality=reference * 1.25 >= BRIER, name="watch")

    @evaluation
    def quality(late: object) -> dict[str, float]:
        return {}

    @evaluation
    def of_another(other: object) -> dict[str, float]:
        return {}

    watch.check({"quality": quality})
    for parts in ({}, {"quality": of_another}):
        with pytest.raises(BadSetting, match="'late'"):
            watch.check(parts)


def test_drift_of_a_feature_that_the_model_does_not_have_is_refused() -> None:
    watch = Monitor(SERVICE, drift=Drift(columns=["wnid"]), name="watch")

    with pytest.raises(UnknownName, match="did you mean wind"):
        watch.check_features(["wind", "heat"])
    watch.check_features(["wnid"])


def test_a_trigger_lays_the_present_into_its_settings() -> None:
    watch = Monitor(SERVICE, window="28d")
    trigger = Trigger(watch.drift, cron("0 3 * * 1"), settings={"flights.until": now, "late.depth": 3})

    assert trigger.resolved(datetime(2013, 6, 27, 5, 30, 1, 5, tzinfo=UTC)) == {
        "flights.until": "2013-06-27T05:30:01",
        "late.depth": 3,
    }
    assert trigger.rest == timedelta(days=28)
    assert trigger.refers() == (watch,)


@pytest.mark.parametrize(
    ("when", "options"),
    [
        ((), {}),
        (("drift",), {}),
        ((cron("0 3 * * 1"),), {"cooldown": "soon"}),
        ((cron("0 3 * * 1"),), {"settings": {"a.b": object()}}),
    ],
)
def test_a_trigger_that_cannot_be_is_refused(when: Any, options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        Trigger(*when, **options)

from typing import Any

import numpy as np
import pytest
from tests.monitoring.traffic_of import DAY, START, World, service_of, system_of

from drivetrain.monitoring.controller import Controller
from drivetrain.monitoring.drift import indexes
from drivetrain.monitoring.monitor import Drift, Monitor
from drivetrain.monitoring.window import Alert, Window
from drivetrain.security.event import Event
from drivetrain.system.settings import Project
from drivetrain.training.evaluation import Measure, reference

BRIER = Measure("quality", "brier")


def controller_of(world: World, **options: Any) -> Controller:
    """Return a controller whose monitor looks at the last three days, every day."""
    service = service_of()
    given: dict[str, Any] = {"window": "3d", "min_rows": 100, "settle": 2, "name": "watch"} | options
    watch = Monitor(service, **given)
    return Controller(Project(root=world.store.root, values={}), system_of(service, watch), world.store)


def alerts_of(world: World, rule: str) -> list[Alert]:
    return world.store.ledger.find(Alert, {"rule": rule})


def test_a_window_has_the_figures_of_its_rows(world: World) -> None:
    version = world.register(1)
    world.promote(version)
    controller = controller_of(world)

    world.live_through(version, range(5), shift=1.5)
    controller.tick()

    traffic = controller.watched[0].traffic
    window = world.store.ledger.get(Window, "watch", version.id, START + DAY)
    assert window is not None
    rows = traffic.of(version.id, START + DAY, START + 4 * DAY)
    trained = traffic.reference(version.id)
    assert trained is not None
    counts = traffic.bucket(version.id, START + DAY, START + 4 * DAY).features["wind"].tolist()
    truth = np.array([label == "true" for label in rows["label"]])
    assert (window.rows, window.labelled, window.is_closed, window.is_full) == (300, 300, True, True)
    assert window.drift["wind"] == indexes({"wind": trained.features["wind"].bins.counts}, {"wind": counts})["wind"]
    assert window.quality["brier"] == pytest.approx(((rows["prediction"].to_numpy() - truth) ** 2).mean())
    assert window.mean_label == pytest.approx(truth.mean())


def test_the_quality_of_a_window_follows_labels_that_come_late(world: World) -> None:
    version = world.register(1)
    world.promote(version)
    controller = controller_of(world)
    answered = [world.answer(version, day) for day in range(4)]
    controller.tick()
    before = world.store.ledger.get(Window, "watch", version.id, START)

    for ids, predictions in answered:
        world.feedback(ids, world.labels(predictions, 0.3))
    controller.tick()

    after = world.store.ledger.get(Window, "watch", version.id, START)
    assert before is not None
    assert after is not None
    assert (before.labelled, before.quality, before.has_labels) == (0, {}, False)
    assert (after.labelled, after.has_labels) == (300, True)
    assert after.quality["brier"] > 0


def test_drift_is_told_once_it_has_settled_and_over_once_it_has_held(world: World) -> None:
    version = world.register(1)
    world.promote(version)
    controller = controller_of(world, quality=None)
    told: list[tuple[int, str]] = []

    for day in range(24):
        world.live_through(version, [day], shift=3.0 if 6 <= day < 14 else 0.0)
        controller.tick()
        kinds = [event.kind for event in world.store.ledger.find(Event) if event.kind.startswith("drift")]
        told += [(day, kind) for kind in kinds[len(told) :]]

    # The first window with a day of drift ends with day 6, and is judged with the next row; one look later it is told.
    assert [kind for _, kind in told] == ["drift.raised", "drift.cleared"]
    assert 7 <= told[0][0] <= 9
    assert 16 <= told[1][0] <= 19
    (alert,) = alerts_of(world, "drift")
    assert alert.message.startswith("1 of 2 features moved beyond PSI 0.25: wind (PSI ")
    assert alert.cleared_at is not None


def test_a_single_bad_look_is_no_alert(world: World) -> None:
    version = world.register(1)
    world.promote(version)
    controller = controller_of(world, window="1d", settle=3, quality=None)

    for day in range(12):
        world.live_through(version, [day], count=150, shift=3.0 if day in (3, 7, 8) else 0.0)
        controller.tick()

    assert alerts_of(world, "drift") == []


def test_a_rule_may_ask_for_more_features_or_certain_ones(world: World) -> None:
    version = world.register(1)
    world.promote(version)
    for day in range(8):
        world.live_through(version, [day], shift=3.0)

    for number, limit in enumerate((Drift(at_least=2), Drift(columns=["heat"]), Drift(columns=["wind"]))):
        controller_of(world, drift=limit, quality=None, name=f"watch{number}").tick()

    assert [alert.monitor for alert in alerts_of(world, "drift")] == ["watch2"]


def test_quality_is_compared_with_the_versions_own_test_figures(world: World) -> None:
    version = world.register(1, brier=0.15)
    world.promote(version)
    controller = controller_of(world, drift=None, quality=1.25 * reference >= BRIER)

    for day in range(12):
        world.live_through(version, [day], noise=0.0 if day < 5 else 1.0)
        controller.tick()

    (alert,) = alerts_of(world, "quality")
    assert alert.message.startswith("brier is 0.")
    assert "limit 0.188, 0.150 on its test rows" in alert.message
    assert alert.evidence["brier"] > alert.evidence["brier_limit"] == pytest.approx(0.1875)
    assert alert.happened_at is not None
    assert START + 6 * DAY < alert.happened_at < START + 12 * DAY


def test_a_version_is_not_judged_before_it_has_been_there_for_a_whole_window(world: World) -> None:
    version = world.register(1)
    world.promote(version)
    controller = controller_of(world, window="7d", quality=None, settle=1)

    for day in range(6):
        world.live_through(version, [day], shift=5.0)
        controller.tick()

    assert alerts_of(world, "drift") == []


def test_a_version_that_was_replaced_by_hand_leaves_no_open_alert(world: World) -> None:
    first, second = world.register(1), world.register(2)
    world.promote(first)
    controller = controller_of(world, quality=None)
    for day in range(8):
        world.live_through(first, [day], shift=3.0)
        controller.tick()
    assert [alert.cleared_at for alert in alerts_of(world, "drift")] == [None]

    world.promote(second)
    controller.tick()

    (alert,) = alerts_of(world, "drift")
    assert alert.cleared_at is not None
    assert "late@2 took its place" in alert.message
    assert world.store.ledger.find(Event, {"kind": "drift.cleared"})


def test_a_controller_that_begins_anew_every_day_tells_the_same(world: World) -> None:
    version = world.register(1)
    world.promote(version)
    steady = controller_of(world, name="steady")

    for day in range(24):
        world.live_through(version, [day], shift=3.0 if 6 <= day < 14 else 0.0, noise=1.0 if day > 15 else 0.3)
        steady.tick()
        controller_of(world, name="anew").tick()

    told = {
        name: [
            (alert.rule, alert.message, alert.happened_at, alert.cleared_at is None)
            for alert in world.store.ledger.find(Alert, {"monitor": name})
        ]
        for name in ("steady", "anew")
    }
    assert told["anew"] == told["steady"]
    assert [rule for rule, *_ in told["steady"]] == ["drift", "quality"]

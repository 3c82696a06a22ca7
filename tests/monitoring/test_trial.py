from datetime import timedelta

import msgspec
import pytest
from tests.monitoring.traffic_of import MODEL, World, service_of, system_of

from drivetrain.monitoring.controller import Controller
from drivetrain.monitoring.window import Signal
from drivetrain.registry.registry import champion_of
from drivetrain.registry.rollout import Rollout
from drivetrain.security.event import Event, record_event
from drivetrain.serving.service import Canary
from drivetrain.store.record import now
from drivetrain.system.settings import Project

CANARY = Canary(share=0.5, at_least=100, within="5d")


def controller_of(world: World) -> Controller:
    service = service_of(CANARY)
    return Controller(Project(root=world.store.root, values={}), system_of(service), world.store)


def the_rollout(world: World) -> Rollout:
    (rollout,) = world.store.ledger.find(Rollout)
    return rollout


def champion(world: World) -> str:
    found = champion_of(world.store.ledger, MODEL)
    assert found is not None
    return found.id


@pytest.mark.parametrize(("noise", "state", "answers"), [(0.0, "promoted", "late@2"), (1.0, "rolled_back", "late@1")])
def test_live_labels_decide_who_answers(world: World, noise: float, state: str, answers: str) -> None:
    first, second = world.register(1), world.register(2)
    world.promote(first)
    world.try_out(first, second)
    controller = controller_of(world)

    for day in range(6):
        world.live_through(first, [day], noise=0.5)
        world.live_through(second, [day], noise=noise, arm="canary")
        controller.tick()

    rollout = the_rollout(world)
    assert rollout.state == state
    assert champion(world) == answers
    assert rollout.evidence["labels_challenger"] >= 100
    assert "brier" in rollout.reason
    kind = "version.promoted" if state == "promoted" else "canary.rolled_back"
    event = world.store.ledger.find(Event, {"kind": kind}, order="-number")[0]
    assert event.subject == "late@2"
    assert event.happened_at is not None
    assert event.happened_at.year == 2026


def test_a_canary_without_labels_ends_with_the_champion(world: World) -> None:
    first, second = world.register(1), world.register(2)
    world.promote(first)
    world.try_out(first, second)
    controller = controller_of(world)

    for day in range(14):
        world.answer(first, day)
        world.answer(second, day, arm="canary")
        controller.tick()

    assert the_rollout(world).state == "rolled_back"
    assert "0 labels in an arm" in the_rollout(world).reason


def test_the_reason_names_a_feature_that_was_only_known_in_training(world: World) -> None:
    first, second = world.register(1), world.register(2, missing_in_training=0.02)
    world.promote(first)
    world.try_out(first, second)
    controller = controller_of(world)

    for day in range(6):
        world.live_through(first, [day])
        world.live_through(second, [day], noise=1.0, missing=1.0, arm="canary")
        controller.tick()

    assert the_rollout(world).state == "rolled_back"
    assert "the feature heat is missing in 100%" in the_rollout(world).reason
    assert "known only later" in the_rollout(world).reason


def test_rows_from_before_the_trial_do_not_count(world: World) -> None:
    first, second = world.register(1), world.register(2)
    world.promote(first)
    world.live_through(second, range(4), noise=1.0)
    world.live_through(first, range(4), noise=0.0)
    world.try_out(first, second)

    controller_of(world).tick()

    assert the_rollout(world).state == "canary"


def test_a_challenger_that_makes_requests_fail_goes_at_once(world: World) -> None:
    first, second = world.register(1), world.register(2)
    world.promote(first)
    began = now()
    rollout = msgspec.structs.replace(world.try_out(first, second), started_at=began)
    world.store.ledger.write(rollout)
    for second_of, errors in ((-10, 0), (-5, 0), (5, 40), (10, 60)):
        world.store.ledger.write(
            Signal(
                service="answers", at=began + timedelta(seconds=second_of), seconds=5, requests=200, rows=200,
                errors=errors, latency_p50_ms=1, latency_p99_ms=2, busy_share=0.1, workers=1,
            )
        )  # fmt: skip

    controller_of(world).tick()

    assert the_rollout(world).state == "rolled_back"
    assert "100 of 400 requests failed since it came (25.0%), and 0.0% before" in the_rollout(world).reason


def test_a_challenger_that_cannot_be_loaded_goes_after_a_while(world: World) -> None:
    first, second = world.register(1), world.register(2)
    world.promote(first)
    rollout = msgspec.structs.replace(world.try_out(first, second), started_at=now() - timedelta(minutes=5))
    world.store.ledger.write(rollout)
    event = record_event(
        world.store.ledger,
        "service.load_failed",
        subject="answers",
        message="late@2 cannot be loaded: OSError: gone; others go on",
    )
    controller = controller_of(world)
    controller.tick()
    assert the_rollout(world).state == "canary"

    world.store.ledger.write(msgspec.structs.replace(event, at=event.at - timedelta(minutes=2)))
    controller.tick()

    assert the_rollout(world).state == "rolled_back"
    assert the_rollout(world).reason == "late@2 cannot be loaded: OSError: gone"


@pytest.mark.parametrize(("chosen", "state"), [(2, "promoted"), (3, "rolled_back")])
def test_a_promotion_by_hand_ends_the_trial(world: World, chosen: int, state: str) -> None:
    versions = {number: world.register(number) for number in (1, 2, 3)}
    world.promote(versions[1])
    world.try_out(versions[1], versions[2])

    world.promote(versions[chosen])
    controller_of(world).tick()

    assert the_rollout(world).state == state
    assert champion(world) == f"late@{chosen}"

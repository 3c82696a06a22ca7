from datetime import timedelta

from tests.monitoring.traffic_of import DAY, SERVICE, START, World

from drivetrain.monitoring.traffic import Traffic
from drivetrain.serving.sealing import seal


def traffic_of(world: World, *, horizon: timedelta = 40 * DAY) -> Traffic:
    return Traffic(world.store, SERVICE, step=DAY, horizon=horizon)


def test_rows_are_counted_once_by_the_time_of_the_data(world: World) -> None:
    version = world.register(1)
    traffic = traffic_of(world)

    for day in range(3):
        world.answer(version, day, 50)
        traffic.read()
    traffic.read()

    assert [traffic.bucket(version.id, START + day * DAY, START + (day + 1) * DAY).rows for day in range(3)] == [50] * 3
    total = traffic.bucket(version.id, START, START + 3 * DAY)
    assert {name: int(counts.sum()) for name, counts in total.features.items()} == {"wind": 150, "heat": 150}
    assert START + 2.8 * DAY < traffic.watermark < START + 3 * DAY


def test_labels_find_their_rows_however_late_they_come_and_the_last_one_counts(world: World) -> None:
    version = world.register(1)
    traffic = traffic_of(world)
    ids, _ = world.answer(version, 0, 10)
    traffic.read()
    before = traffic.label_watermark

    world.answer(version, 5, 10)
    world.feedback(ids, [True] * 10)
    traffic.read()
    traffic.touched.clear()
    world.feedback(ids[:3], [False] * 3)
    traffic.read()

    labels = traffic.of(version.id, START, START + DAY)["label"].to_list()
    assert labels == ["false"] * 3 + ["true"] * 7
    assert traffic.touched == {(version.id, traffic.step_of(START))}
    assert before is None
    assert traffic.label_watermark is not None
    assert traffic.label_watermark < START + DAY


def test_a_stray_row_from_the_future_does_not_move_time(world: World) -> None:
    version = world.register(1)
    traffic = traffic_of(world)
    world.answer(version, 0, 50)

    world.answer(version, 30_000, 1)
    traffic.read()

    assert traffic.watermark < START + DAY


def test_another_process_knows_the_same_from_the_sealed_log(world: World) -> None:
    version = world.register(1)
    before = traffic_of(world)
    for day in range(4):
        world.live_through(version, [day])
        before.read()
        world.finish_parts()
        seal(world.store, SERVICE)

    after = traffic_of(world)
    after.read()

    before.read()
    assert after.rows.sort("id").equals(before.rows.sort("id"))
    assert (after.watermark, after.label_watermark) == (before.watermark, before.label_watermark)
    whole = [each.bucket(version.id, START, START + 4 * DAY).features["wind"].tolist() for each in (before, after)]
    assert whole[0] == whole[1]


def test_what_lies_before_the_horizon_is_let_go_and_not_read_again(world: World) -> None:
    version = world.register(1)
    traffic = traffic_of(world, horizon=10 * DAY)
    for day in range(0, 40, 2):
        world.live_through(version, [day], count=20)
        traffic.read()
        world.finish_parts()
        seal(world.store, SERVICE)

    anew = traffic_of(world, horizon=10 * DAY)
    anew.read()

    assert len(traffic.rows) < 200
    assert len(traffic.buckets) <= 6
    assert len(anew.rows) <= 6 * 20
    assert anew.rows["label"].null_count() == 0


def test_a_service_that_was_never_asked_has_nothing_to_show(world: World) -> None:
    traffic = traffic_of(world)

    assert not traffic.read()
    assert traffic.rows.is_empty()

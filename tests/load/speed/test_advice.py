"""Each place where time can go leads to its own conclusion."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.serving.world import register

from drivetrain.load.speed.advice import MOST, conclusions
from drivetrain.load.speed.explanation import BatchTime, Breakdown, Explanation, Load, slow_because
from drivetrain.load.speed.picture import picture
from drivetrain.load.speed.trace import STAGES, Stage
from drivetrain.store.store import Store
from drivetrain.training.builds import Build, Builds

if TYPE_CHECKING:
    from drivetrain.registry.version import Version


@pytest.fixture(scope="module")
def version() -> Version:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "store")
        found = register(store, 1)
        store.close()
    return found


def load(connections: int = 1, *, processors: float = 0.5, failures: dict[str, int] | None = None, **us: float) -> Load:
    stages: dict[Stage, float] = {stage: us.get(stage.replace(" ", "_"), 10.0) for stage in STAGES}
    breakdown = Breakdown(whole_us=sum(stages.values()), stages_us=stages)
    return Load(
        connections=connections, requests=100, answers_per_s=500.0, rows_a_batch=1.0, p50=breakdown, p99=breakdown,
        plain_p50_us=breakdown.whole_us, timed_p50_us=breakdown.whole_us + 3, processors=processors,
        failures=failures or {},
    )  # fmt: skip


def explanation(*loads: Load, **changed: Any) -> Explanation:
    usual = Explanation(
        service="service", version="late@1", build="onnx", slow_because="", rows_from="3 rows", workers=1,
        loads=list(loads), batches=[BatchTime(rows=1, ms=1.0), BatchTime(rows=64, ms=8.0)],
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changed)


def test_the_largest_stage_is_named_with_what_to_do(version: Version) -> None:
    shaped = msgspec.structs.replace(version, features="asked")

    (of_features,) = conclusions(explanation(load(features=900.0)), shaped)
    (of_model,) = conclusions(explanation(load(model=900.0)), version)
    (of_the_way,) = conclusions(explanation(load(way_in=500.0)), version)
    (of_another,) = conclusions(explanation(load(model=900.0), batches=[]), version)

    assert of_features.startswith("88% of a request (910 µs) is the features function `asked` → ")
    assert of_features.endswith("64 rows in one request take 8 times as long as one")
    assert "is the model, in its fast build → fewer or smaller trees" in of_model
    assert "its way through the network and the server, and only 30 µs are the model's" in of_the_way
    assert "waiting for what the model itself asks" in of_another


def test_a_model_in_its_original_form_is_told_with_the_reason(version: Version) -> None:
    differing = with_build(version, Build(form="onnx", rows=5_000, differing_rows=12, largest_difference=0.25))
    found = explanation(load(model=900.0), build="sklearn", slow_because=slow_because(differing, "sklearn"))

    (told,) = conclusions(found, differing)

    assert "in its original form since onnx: 12 of 5,000 rows differ by up to 0.25" in told
    assert "late@1 of service, answering as sklearn: onnx: 12 of 5,000 rows differ by up to 0.25" in list(
        picture(found)
    )
    assert slow_because(version, "onnx") == ""
    sound = with_build(version, Build(form="onnx", digest="sha256:0", rows=5_000))
    assert "not installed here: `pip install 'drivetrain[onnx]'`" in slow_because(sound, "sklearn")
    assert slow_because(sound, "lightgbm-native") == ""


def with_build(version: Version, build: Build) -> Version:
    detail = {"builds": msgspec.to_builtins(Builds(tried=[build]))}
    return msgspec.structs.replace(version, artifact=msgspec.structs.replace(version.artifact, detail=detail))


def test_busy_workers_refusals_and_a_slow_log_are_told(version: Version) -> None:
    busy = load(64, processors=0.97, waiting=900.0, failures={"503": 7})

    told = conclusions(explanation(load(log=200.0), busy), version)

    assert len(told) == MOST
    assert "503" in told[1]
    assert "is waiting for others: its worker is busy (97% of a processor)" in told[2]
    if (os.cpu_count() or 1) > 1:
        assert f"--workers {os.cpu_count()}" in told[2]
    assert "is the log" in conclusions(explanation(load(log=200.0)), version)[1]


def test_the_picture_has_a_row_for_each_stage_that_was_seen(version: Version) -> None:
    lines = list(picture(explanation(load(model=500.0, features=0.0), load(64))))

    rows = [line for line in lines if line.startswith("  model ")]
    assert len(rows) == 2
    assert "████████████████████████" in rows[0]
    assert sum("features function" in line for line in lines) == 1
    assert "  the stopwatch costs 3 µs: without it the median is 620 µs" in lines
    assert lines[-1] == "a batch takes, in ms:  1 row 1   64 rows 8"

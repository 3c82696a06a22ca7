"""The stopwatch at a server's stages: all of them are seen, and they sum to what the client waited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.serving.test_predictor import cities
from tests.serving.world import ROW, register

from drivetrain.load.plan import Plan, Target
from drivetrain.load.process import carry_out
from drivetrain.load.speed.trace import STAGES, Stage, Worker
from drivetrain.load.stand import standing
from drivetrain.registry.bundle import pack
from drivetrain.serving.service import Terms
from drivetrain.store.store import Store
from drivetrain.system.load import load_system

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = """
import polars as pl
import drivetrain as dt

@dt.dataset(key="ticket", time="asked_at", label="is_late")
def tickets() -> pl.LazyFrame: ...

@dt.dataset
def cities() -> pl.LazyFrame: ...

@dt.features
def asked(tickets: pl.LazyFrame, cities: pl.LazyFrame) -> pl.LazyFrame:
    return tickets.select("ticket", "distance", "stops", "wind")
"""
SHAPING: set[Stage] = {"table", "features"}


@pytest.mark.parametrize("has_features", [False, True])
def test_every_stage_is_seen_and_together_they_are_the_whole(tmp_path: Path, has_features: bool) -> None:
    store = Store.open(tmp_path / "store")
    (tmp_path / "timed_system.py").write_text(SYSTEM)
    shaped: dict[str, Any] = {
        "code": pack(load_system(tmp_path / "timed_system.py"), tmp_path, store),
        "features": "asked",
        "dataset": "tickets",
        "side_inputs": {"cities": cities(store, 0.0)},
    }
    version = register(store, 1, **(shaped if has_features else {}))
    traces = tmp_path / "traces"
    traces.mkdir()

    with standing(store, version, Terms(name="service", model=version.model), traces=traces) as url:
        plan = Plan(
            target=Target(url=f"{url}/predict"),
            requests=[msgspec.json.encode(ROW)],
            connections=4,
            seconds=0.5,
            warm_up_s=0.1,
            times_in=str(tmp_path / "times"),
        )
        report = carry_out(plan)
    store.close()

    times = msgspec.msgpack.decode((tmp_path / "times").read_bytes(), type=dict[str, tuple[float, float]])
    (path,) = traces.glob("*.worker")
    worker = msgspec.msgpack.decode(path.read_bytes(), type=Worker)
    requests = {request.id: request for request in worker.requests}
    assert report.outcomes == {"200": report.answered}
    assert len(times) == report.answered
    assert times.keys() <= requests.keys()
    seen = set.union(*[set(requests[name].spent) for name in times])
    assert seen == set(STAGES) - {"way in", "way out"} - (set() if has_features else SHAPING)
    for name, (asked, came) in times.items():
        request = requests[name]
        assert sum(request.spent.values()) == pytest.approx(request.ended - request.began)
        assert min(request.spent.values()) >= 0
        assert asked < request.began < request.ended < came

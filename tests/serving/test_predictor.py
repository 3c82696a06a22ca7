"""Versions in memory: with a features function of the user's, with side inputs, and for the rows of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest
from tests.serving.world import ROW, logged, promote, register, rows, served, wait_until

from drivetrain.errors import BadRow, UsageError
from drivetrain.pipeline.run import StepRun
from drivetrain.registry.bundle import pack
from drivetrain.registry.version import Version
from drivetrain.serving.batch import score
from drivetrain.serving.predictor import Predictor
from drivetrain.store.record import now
from drivetrain.system.load import load_system

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drivetrain.store.store import Store

SYSTEM = """
import polars as pl
import drivetrain as dt

@dt.dataset(key="ticket", time="asked_at", label="is_late")
def tickets() -> pl.LazyFrame: ...

@dt.dataset
def cities() -> pl.LazyFrame: ...

def farther(distance, more):
    if (distance < 0).any():
        raise ValueError("a negative distance")
    return distance + more

@dt.features
def asked(tickets: pl.LazyFrame, cities: pl.LazyFrame) -> pl.LazyFrame:
    joined = tickets.join(cities, on="city", how="left").collect()
    return joined.with_columns(distance=farther(joined["distance"], joined["more"])).lazy().select(
        "ticket", "distance", "stops", "wind"
    )
"""


def with_features(store: Store, folder: Path, number: int = 1) -> Version:
    """Register a version whose features function adds a city's `more` to the distance."""
    path = folder / "tickets_system.py"
    path.write_text(SYSTEM)
    code = pack(load_system(path), folder, store)
    side = {"cities": cities(store, 0.0)}
    return register(store, number, code=code, features="asked", dataset="tickets", side_inputs=side)


def cities(store: Store, more: float) -> Any:
    return store.keep(pl.DataFrame({"city": ["Oslo", "Rome"], "more": [more, 0.0]}), part="cities")


def asked(predictor: Predictor, *changed: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return rows as they come from requests."""
    import msgspec

    return [predictor.reader.one(msgspec.json.encode({**ROW, **each})) for each in changed]


def predictions(predictor: Predictor, *changed: dict[str, Any]) -> Sequence[float]:
    return predictor.answer(asked(predictor, *changed)).predictions


def test_a_version_answers_through_its_features_function(store: Store, tmp_path: Path) -> None:
    plain = Predictor.load(store, register(store, 1))
    version = with_features(store, tmp_path, 2)
    version = register(store, 3, artifact=plain.version.artifact, **{
        name: getattr(version, name) for name in ("code", "features", "dataset", "side_inputs")
    })  # fmt: skip
    near, far = (Predictor.load(store, version, side={"cities": cities(store, more)}) for more in (0.0, 60.0))

    asked_for: list[dict[str, Any]] = [
        {"distance": 80.0},
        {"distance": 140.0},
        {"ticket": None, "distance": 80.0},
        {"ticket": None},
    ]

    assert predictions(near, *asked_for) == predictions(plain, *asked_for)
    assert predictions(far, {"distance": 80.0}) == predictions(plain, {"distance": 140.0})
    seen = far.answer(asked(far, {"distance": 80.0})).features
    assert isinstance(seen, pl.DataFrame)
    assert seen.to_dicts() == [{"distance": 140.0, "stops": 2, "wind": 3.25}]


def test_a_row_that_breaks_the_features_function_fails_alone(store: Store, tmp_path: Path) -> None:
    import concurrent.futures

    promote(store, with_features(store, tmp_path))
    with served(store) as server:

        def ask(distance: float) -> httpx.Response:
            with httpx.Client(base_url=server.url, timeout=20) as client:
                return client.post("/predict", json={**ROW, "distance": distance})

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            seen = list(pool.map(ask, [-1.0 if number % 10 == 0 else 100.0 for number in range(60)]))
        metrics = server.client.get("/metrics").text

        assert [answer.status_code for answer in seen] == [500 if number % 10 == 0 else 200 for number in range(60)]
        assert seen[0].json()["error_id"].startswith("error-")
        assert "negative" not in seen[0].text
        assert f'status="5xx"}} {6}\n' in metrics
        assert len(logged(store)) == 54


def test_a_server_takes_newer_side_inputs(store: Store, tmp_path: Path) -> None:
    version = with_features(store, tmp_path)
    promote(store, version)
    with served(store) as server:
        before = server.predict({**ROW, "distance": 80.0}).json()["prediction"]
        moment = now()
        store.ledger.write(
            StepRun(
                run="run-2", step="cities", role="dataset", state="finished", key="k", origin="run-2", reason="",
                started_at=moment, outputs={"cities": cities(store, 60.0)},
            )
        )  # fmt: skip
        wait_until(lambda: server.predict({**ROW, "distance": 80.0}).json()["prediction"] != before)

        assert server.predict({**ROW, "distance": 20.0}).json()["prediction"] == before


def test_a_table_is_scored_as_the_server_would(store: Store) -> None:
    version = register(store, 1)
    slow = register(store, 2, is_fast=False, artifact=version.artifact)
    frame = rows(40).with_columns(note=pl.lit("kept"))

    fast, plain = score(store, version, frame), score(store, slow, frame)

    assert fast.columns == [*frame.columns, "prediction", "version"]
    assert (fast["prediction"] - plain["prediction"]).abs().max() < 1e-6  # type: ignore[operator]  # there are rows
    with pytest.raises(UsageError, match="stops"):
        score(store, version, frame.drop("stops"))
    with pytest.raises(BadRow, match="row 0, field 'stops': found null, wanted a whole number"):
        score(store, version, frame.with_columns(stops=pl.lit(None, pl.Int32)))

"""A store with versions registered by hand, and a server on it, for the tests of serving."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from drivetrain.data.schema import Roles, columns_of
from drivetrain.registry.registry import CHAMPION, point_alias
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Signature, Version
from drivetrain.serving.log import Cursor, read_new
from drivetrain.store.record import new_id, now
from drivetrain.store.store import Store
from drivetrain.training.builds import Build, Builds
from drivetrain.training.builds.form import form_named

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SERVICE, MODEL = "answers", "late"
ROW: dict[str, Any] = {
    "ticket": "t-1",
    "asked_at": "2026-01-31T09:30:00",
    "distance": 120.5,
    "stops": 2,
    "is_new": True,
    "city": "Oslo",
    "day": "2026-01-31",
    "wind": 3.25,
}
FEATURES = ["distance", "stops", "wind"]


def rows(count: int) -> pl.DataFrame:
    """Return rows as the dataset of the model has them."""
    numbers = np.random.default_rng(0)
    # Quarters are exact in 32 bits, so that an ONNX build answers the same.
    winds = np.round(numbers.normal(5, 2, count) * 4) / 4
    return pl.DataFrame(
        {
            "ticket": [f"t-{number}" for number in range(count)],
            "asked_at": [datetime(2026, 1, 1 + number % 28, 9, 30) for number in range(count)],  # noqa: DTZ001  # local
            "distance": np.round(numbers.normal(100, 30, count) * 4) / 4,
            "stops": pl.Series(numbers.integers(0, 5, count), dtype=pl.Int32),
            "is_new": [number % 2 == 0 for number in range(count)],
            "city": ["Oslo" if number % 3 else "Rome" for number in range(count)],
            "day": [date(2026, 1, 1 + number % 28) for number in range(count)],
            "wind": pl.Series([None if number == 7 else value for number, value in enumerate(winds)]),
        }
    )


def signature(columns: list[str] | None = None) -> Signature:
    """Return the signature: a row's key may be left out, and its wind may be null."""
    frame = rows(50)
    return Signature(
        task="binary",
        label="is_late",
        classes=[0, 1],
        request=columns_of(frame.select(columns or frame.columns)),
        features=columns_of(frame.select(FEATURES)),
        roles=Roles(key="ticket", time="asked_at", label="is_late"),
    )


@cache
def trained(number: int) -> tuple[HistGradientBoostingClassifier, bytes]:
    """Return the model of a version, and its ONNX build."""
    frame = rows(400).select(FEATURES)
    target = (frame["distance"] + 10 * frame["stops"] > 120 - 8 * number).to_numpy()
    # On a busy machine the threads of OpenMP wait for each other for minutes.
    with threadpool_limits(1):
        trees = HistGradientBoostingClassifier(max_iter=5, random_state=0)  # takes a missing wind as it is
        model = trees.fit(frame.to_numpy().astype(np.float32), target.astype(int))
        return model, form_named("onnx").written(model, signature())


def register(store: Store, number: int, *, is_fast: bool = True, **changed: Any) -> Version:
    """Register a version of the model, by default with an ONNX build; a higher number gives higher probabilities."""
    model, built = trained(number)
    artifact = store.keep(model, part=MODEL)
    if is_fast:
        builds = Builds(tried=[Build(form="onnx", digest=store.artifacts.put(built))])
        artifact = msgspec.structs.replace(artifact, detail={"builds": msgspec.to_builtins(builds)})
    version = Version(
        **{
            "id": f"{MODEL}@{number}",
            "model": MODEL,
            "number": number,
            "system": "tickets",
            "run": "run-1",
            "key": f"key-{number}",
            "artifact": artifact,
            "signature": signature(),
            "code": "",
            "created_at": now(),
            **changed,
        }
    )
    store.ledger.write(version)
    return version


def promote(store: Store, version: Version) -> None:
    """Make a version the champion."""
    point_alias(store.ledger, MODEL, CHAMPION, version.id, reason="for a test")


def try_out(store: Store, champion: Version, challenger: Version, share: float) -> Rollout:
    """Give a challenger a share of the traffic."""
    rollout = Rollout(
        id=new_id("rollout"),
        service=SERVICE,
        model=MODEL,
        champion=champion.id,
        challenger=challenger.id,
        share=share,
        state="canary",
        started_at=now(),
    )
    store.ledger.write(rollout)
    return rollout


def logged(store: Store) -> pl.DataFrame:
    """Return what the service has answered, in the order of the ids."""
    return read_new(store, SERVICE, Cursor())[0].sort("id")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server in processes of its own."""

    def __init__(self, store: Store, url: str, process: subprocess.Popen[bytes]) -> None:
        self.store, self.url, self.process = store, url, process
        self.client = httpx.Client(base_url=url, timeout=20)

    def predict(self, body: Any, **options: Any) -> httpx.Response:
        return self.client.post("/predict", json=body, **options)

    def stop(self) -> int:
        """Tell it to stop, as a container's host would, and return how it ended."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def pids(self) -> list[int]:
        """Return the process of each worker that lives."""
        from drivetrain.serving.counters import totals

        return totals(self.store.root / "serving" / SERVICE).pids


@contextmanager
def served(store: Store, *, workers: int = 1, ready: bool = True, **settings: str) -> Iterator[Server]:
    """Start a server on a store, and end it with the block."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **settings}
    command = [sys.executable, "-m", "tests.serving.run_server", str(store.root), str(port), str(workers)]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    server = Server(store, f"http://127.0.0.1:{port}", process)
    try:
        wait_until(lambda: answers(server, ready) and len(server.pids()) == workers, 40)
        yield server
    finally:
        server.stop()


def answers(server: Server, ready: bool) -> bool:
    """Return whether the server answers, and has a version where that is asked for."""
    assert server.process.poll() is None, "the server ended by itself"
    try:
        found = server.client.get("/readyz")
    except httpx.TransportError:
        return False
    return found.status_code == 200 or not ready


def wait_until(holds: Any, seconds: float = 10) -> None:
    """Wait until a condition holds, or fail."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)

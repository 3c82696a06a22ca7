"""`drivetrain work`, `jobs` and `consume`, as a user types them, beside a real server and real brokers."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from tests.project import Project
from tests.serving.streams.conftest import broker as broker
from tests.serving.world import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serving.streams.brokers import Broker

pytest.importorskip("sklearn")
pytest.importorskip("skops")

SYSTEM = """
import polars as pl
from sklearn.linear_model import LinearRegression

import drivetrain as dt


@dt.dataset(label="price")
def houses() -> pl.DataFrame:
    return pl.DataFrame({"rooms": [1.0, 2.0, 3.0, 4.0], "price": [100.0, 200.0, 300.0, 400.0]})


@dt.model
def worth(houses: pl.DataFrame) -> LinearRegression:
    x, y = dt.xy(houses)
    return LinearRegression().fit(x, y)


@dt.evaluation
def quality(worth: LinearRegression, houses: pl.DataFrame) -> dt.metrics.Regression:
    return dt.metrics.regression(worth, houses)


gate = dt.Gate(worth, require=[quality.mae <= 1])
# The server takes jobs in, and leaves them to `drivetrain work`.
service = dt.Service(worth, jobs=dt.Jobs(share=0))
"""


@pytest.fixture
def trained(project: Project) -> Project:
    """Return a project with a champion."""
    project.write(SYSTEM)
    project.command("run")
    return project


@contextmanager
def running(project: Project, *command: str) -> Iterator[None]:
    """Let a command run until the block ends, and then end well on SIGTERM."""
    process = project.start(*command)
    try:
        yield
        assert process.poll() is None, "it ended by itself"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


@contextmanager
def serving(project: Project) -> Iterator[httpx.Client]:
    """Serve a project, and give a client of it."""
    port = free_port()
    with running(project, "serve", "--port", str(port)), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

        def is_ready() -> bool:
            try:
                return client.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(is_ready, 60)
        yield client


def states(project: Project, *options: str) -> list[str]:
    return [job["state"] for job in project.json("jobs", *options)]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_the_server_takes_in_is_answered_by_workers(trained: Project, workers: str) -> None:
    assert "no job is like that" in trained.command("jobs").stdout
    with serving(trained) as client:
        taken = [client.post("/jobs", json=[{"rooms": 2.5}]).json()["id"] for _ in range(3)]
        cancelled = client.post("/jobs", json={"rooms": 1.0}).json()["id"]

        assert states(trained) == ["queued"] * 4
        assert "cancelled" in trained.command("jobs", "--cancel", cancelled).stdout
        with running(trained, "work", "--workers", workers):
            wait_until(lambda: states(trained, "--state", "done") == ["done"] * 3, 60)
        result = client.get(f"/jobs/{taken[0]}/result").json()

        assert result["predictions"][0]["prediction"] == pytest.approx(250)
        assert trained.command("jobs", "--limit", "1").stdout.count("job-") == 1
        shown = [trained.command("show", job).stdout.splitlines() for job in (taken[0], cancelled)]
        assert [lines[0].split()[:2] for lines in shown] == [[taken[0], "done"], [cancelled, "cancelled"]]
        assert f"  its result: GET /jobs/{taken[0]}/result at the service" in shown[0]
        assert "  0 of 1 rows" in shown[1]
        assert states(trained, "--retry", cancelled) == ["queued"]


def test_a_server_has_loaded_nothing_but_what_answers(trained: Project) -> None:
    with serving(trained) as client:
        assert client.post("/predict", json={"rooms": 2.5}).json()["prediction"] == pytest.approx(250)
        loaded = trained.processes("maps")

    # The one that started them, and the one that answers.
    assert sum("granian" in text for text in loaded) == 2
    assert sum("onnxruntime" in text for text in loaded) == 1
    assert not [text for text in loaded if "polars" in text or "sklearn" in text]


def test_what_is_asked_wrongly_of_jobs_is_refused(trained: Project) -> None:
    assert "is done and cannot" not in trained.command("jobs", "--cancel", "job-none", check=2).stderr
    assert "there is no job 'job-none' here" in trained.command("jobs", "--cancel", "job-none", check=2).stderr
    assert "no job 'job-none' is known" in trained.command("show", "job-none", check=2).stderr
    assert "did you mean queued?" in trained.command("jobs", "--state", "queue", check=2).stderr
    assert "--workers is 0" in trained.command("work", "--workers", "0", check=2).stderr


def test_messages_of_a_broker_are_answered_into_another_stream(trained: Project, broker: Broker) -> None:
    streams = ("--from", broker.address("orders"), "--to", broker.address("answers"))
    with running(trained, "consume", *streams):
        broker.send("orders", [(f"k{number}", msgspec.json.encode({"rooms": float(number)})) for number in range(5)])
        broker.send("orders", [("k9", b'{"rooms": "many"}')])
        wait_until(lambda: broker.count("answers") == 5 and broker.count("orders.dead") == 1, 60)

    told: list[Any] = [msgspec.json.decode(body) for _, body in broker.read("answers")]
    assert sorted(each["prediction"] for each in told) == pytest.approx([0, 100, 200, 300, 400], abs=1e-6)
    assert {each["version"] for each in told} == {"worth@1"}


def test_what_is_asked_wrongly_of_a_consumer_is_refused(trained: Project) -> None:
    orders = "redis://127.0.0.1:1/orders"

    assert "cannot take its own answers" in trained.command("consume", "--from", orders, "--to", orders, check=2).stderr
    for address in ("orders", "ftp://127.0.0.1/orders", "redis://127.0.0.1:1"):
        refused = trained.command("consume", "--from", address, "--to", orders, check=2).stderr
        assert "→" in refused, address
        assert "Traceback" not in refused

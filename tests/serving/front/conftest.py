"""A project with five services, and a server that answers for all of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.serving.project import Address, Project
from tests.serving.world import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SYSTEM = """
from collections.abc import Iterator

import polars as pl
from sklearn.linear_model import LinearRegression, LogisticRegression

import drivetrain as dt


@dt.dataset(label="late")
def flights() -> pl.DataFrame:
    return dt.read("flights.parquet").collect()


@dt.model
def lateness(flights: pl.DataFrame, c: float = 1.0) -> LogisticRegression:
    x, y = dt.xy(flights)
    return LogisticRegression(C=c).fit(x, y)


@dt.evaluation
def quality(lateness: LogisticRegression, flights: pl.DataFrame) -> dt.metrics.Binary:
    return dt.metrics.binary(lateness, flights)


@dt.dataset(label="price")
def houses() -> pl.DataFrame:
    return dt.read("houses.parquet").collect()


@dt.model
def worth(houses: pl.DataFrame, scale: float = 1.0) -> LinearRegression:
    x, y = dt.xy(houses)
    return LinearRegression().fit(x, y * scale)


@dt.evaluation
def error(worth: LinearRegression, houses: pl.DataFrame) -> dt.metrics.Regression:
    return dt.metrics.regression(worth, houses)


@dt.predictor
class Story:
    def predict(self, words: int = 3) -> Iterator[str]:
        yield from ["once", "upon", "a", "time"][:words]


arrivals = dt.Service(lateness, cache=dt.Cache(keep="5m"), max_body_bytes=2_000)
prices = dt.Service(worth, max_rows=3)
telling = dt.Service(Story)


@dt.predictor
class Advice:
    arrivals = dt.calls(arrivals, float)

    async def predict(self, miles: float, wind: float) -> str:
        found = await self.arrivals({"miles": miles, "wind": wind})
        return "wait" if found.prediction > 0.5 else "go"


advising = dt.Service(Advice)
# Another service of the same model.
bulk = dt.Service(worth, max_rows=5)
gates = [
    dt.Gate(lateness, name="gate_lateness", require=[quality.auc >= 0.5]),
    dt.Gate(worth, name="gate_worth", require=[error.mae >= 0]),
    dt.Gate(Story, name="gate_story"),
    dt.Gate(Advice, name="gate_advice"),
]
"""
FLIGHT: dict[str, Any] = {"miles": 900.0, "wind": 30.0}
HOUSE: dict[str, Any] = {"rooms": 3.0, "age": 10.0}


def tables(folder: Path) -> None:
    """Write what the models learn from."""
    numbers = np.random.default_rng(0)
    miles, wind = numbers.uniform(100, 1000, 200), numbers.uniform(0, 40, 200)
    late = wind + numbers.normal(0, 5, 200) > 20
    pl.DataFrame({"miles": miles, "wind": wind, "late": late}).write_parquet(folder / "flights.parquet")
    rooms, age = numbers.uniform(1, 9, 100), numbers.uniform(0, 90, 100)
    pl.DataFrame({"rooms": rooms, "age": age, "price": 40 * rooms - age}).write_parquet(folder / "houses.parquet")


class Many:
    """A server of several services, over HTTP and gRPC."""

    def __init__(self, project: Project, address: Address, grpc_port: int) -> None:
        self.project, self.address, self.grpc = project, address, f"127.0.0.1:{grpc_port}"
        self.url, self.client = address.url, address.client

    def ask(self, path: str, body: Any, **options: Any) -> Any:
        """Return the answer to a body, which must be given."""
        found = self.client.post(path, json=body, **options)
        assert found.status_code in (200, 202), found.text
        return found.json()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("several")
    tables(folder)
    made = Project(folder, SYSTEM)
    made.run()
    return made


@contextmanager
def serving(project: Project, *words: str, **settings: Any) -> Iterator[Many]:
    """Serve some services, also over gRPC, until the block ends."""
    port = free_port()
    with project.served(*words, "--grpc-port", str(port), **settings) as address:
        yield Many(project, address, port)


@pytest.fixture(scope="module")
def many(project: Project) -> Iterator[Many]:
    """Return a server of four services, one of which calls another."""
    with serving(project, "arrivals", "prices", "telling", "advising") as running:
        yield running

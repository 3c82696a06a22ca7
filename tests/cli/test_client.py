"""`drivetrain client` on the store: what it writes, and when it says that it is out of date."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest

from drivetrain.cli import main

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = """
import polars as pl
from sklearn.linear_model import LinearRegression
import drivetrain as dt

@dt.dataset(label="price")
def houses() -> pl.DataFrame:
    return dt.read("houses.parquet").collect()

@dt.model
def worth(houses: pl.DataFrame) -> LinearRegression:
    x, y = dt.xy(houses)
    return LinearRegression().fit(x, y)

@dt.evaluation
def quality(worth: LinearRegression, houses: pl.DataFrame) -> dt.metrics.Regression:
    return dt.metrics.regression(worth, houses)

gate = dt.Gate(worth, require=[quality.mae >= 0])
service = dt.Service(worth)
"""


@pytest.fixture
def houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "system.py").write_text(SYSTEM)
    _write(tmp_path, {"rooms": [1.0, 2.0, 3.0, 4.0], "price": [10.0, 20.0, 31.0, 39.0]})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(folder: Path, columns: dict[str, list[float]]) -> None:
    pl.DataFrame(columns).write_parquet(folder / "houses.parquet")


def test_a_client_is_out_of_date_once_the_champion_asks_for_something_else(
    houses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["client"]) == 2  # there is no champion yet
    assert main(["run"]) == 0
    assert main(["client", "--check"]) == 1
    assert "client.py is not there: service asks for signature" in capsys.readouterr().out
    assert main(["client"]) == main(["client", "--proto"]) == 0
    assert main(["client", "--check"]) == main(["client", "--check", "--proto"]) == 0
    text = (houses / "client.py").read_text()
    assert "rooms: float" in text

    _write(houses, {"rooms": [1.0, 2.0, 3.5, 4.0], "price": [10.0, 20.0, 31.0, 39.0]})
    assert main(["run"]) == 0
    assert main(["client", "--check"]) == main(["client", "--check", "--proto"]) == 0  # other rows, the same columns

    _write(houses, {"rooms": [1.0, 2.0, 3.5, 4.0], "age": [9.0, 3.0, 1.0, 2.0], "price": [10.0, 20.0, 31.0, 39.0]})
    assert main(["run"]) == 0
    capsys.readouterr()
    assert main(["client", "--check"]) == main(["client", "--check", "--proto"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert (houses / "client.py").read_text() == text
    assert main(["client"]) == main(["client", "--check"]) == 0
    sys.modules.pop("system", None)

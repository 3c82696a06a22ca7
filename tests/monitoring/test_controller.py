"""The controller on a real project: the world moves, it retrains, judges the challenger on live labels, promotes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.project import Project

from drivetrain.monitoring.controller import Controller
from drivetrain.monitoring.window import Alert, Window
from drivetrain.registry.registry import champion_of, version
from drivetrain.registry.rollout import Rollout
from drivetrain.security.event import Event
from drivetrain.serving.journal import Journal, Label, Line, Names, folder_of
from drivetrain.system.load import load_system
from drivetrain.system.settings import find_project

pytest.importorskip("sklearn")
pytest.importorskip("skops")

# y follows x until February and the opposite of it from then on.
SYSTEM = """
from datetime import datetime

import polars as pl
from sklearn.linear_model import LogisticRegression

import drivetrain as dt


@dt.dataset(key="id", time="at", label="y")
def rows(until: str = "2026-02-01T00:00:00") -> pl.DataFrame:
    start = datetime(2026, 1, 1)
    n = pl.int_range(24 * 120, eager=True)
    table = pl.DataFrame({"id": n, "n": n}).select(
        "id", at=pl.lit(start) + pl.duration(hours="n"), x=(pl.col("n") * 37 % 101).cast(pl.Float64) / 101
    )
    turned = pl.col("at") >= datetime(2026, 2, 1)
    return table.with_columns(y=(pl.col("x") > 0.5) != turned).filter(pl.col("at") < pl.lit(until).str.to_datetime())


@dt.features
def shape(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("id", "x")


train, test = dt.split(shape, test="1d")


@dt.model
def sign(train: pl.DataFrame) -> LogisticRegression:
    x, y = dt.xy(train.tail(48))
    return LogisticRegression().fit(x, y)


@dt.evaluation
def quality(sign: LogisticRegression, test: pl.DataFrame) -> dt.metrics.Binary:
    return dt.metrics.binary(sign, test)


gate = dt.Gate(sign, require=[quality.auc > dt.champion])
service = dt.Service(sign, canary=dt.Canary(share=0.5, at_least=50, within="10d"))
watch = dt.Monitor(service, window="4d", every="1d", settle=1, min_rows=20, drift=None)
retrain = dt.Trigger(watch.quality, settings={"rows.until": dt.now})
"""


class Live:
    """Writes what a server would: one answer an hour, and its label."""

    def __init__(self, controller: Controller) -> None:
        self.store = controller.store
        folder = folder_of(self.store, "service")
        self.predictions, self.labels = Journal(folder, "predictions"), Journal(folder, "feedback")
        self.names = Names()

    def day(self, day: datetime, arms: dict[str, float]) -> None:
        """Answer 24 rows of a day, by each version in turn; `arms` has each one's probability for a true label."""
        for hour in range(24):
            moment = day + timedelta(hours=hour)
            truth = hour % 2 == 0
            chosen = list(arms)[hour // 2 % len(arms)]
            said = arms[chosen] if truth else 1 - arms[chosen]
            (name,) = self.names.take(1)
            line = Line(
                at=time.time_ns() // 1000,
                version=chosen,
                arm="champion",
                ids=[name],
                keys=None,
                requests=[{"at": f"{moment:%Y-%m-%dT%H:%M:%S}", "x": 0.9 if truth else 0.1}],
                predictions=[said],
                features={"x": [0.9 if truth else 0.1]},
            )
            self.predictions.write(msgspec.json.encode(line) + b"\n")
            self.labels.write(msgspec.json.encode(Label(at=time.time_ns() // 1000, id=name, label=truth)) + b"\n")


def test_the_loop_closes(project: Project) -> None:
    path = project.write(SYSTEM)
    project.command("run")
    controller = Controller(find_project(project.root), load_system(Path(path)), project.store())
    ledger = controller.store.ledger
    live = Live(controller)
    start = datetime(2026, 2, 1, tzinfo=UTC)

    # The world has turned: the champion is confidently wrong, day after day.
    for number in range(8):
        live.day(start + timedelta(days=number), {"sign@1": 0.1})
        controller.tick()
    (alert,) = ledger.find(Alert)
    assert alert.rule == "quality"
    assert alert.version == "sign@1"
    assert "on live labels" in alert.message
    windows = ledger.find(Window, {"version": "sign@1"})
    assert max(window.quality["brier"] for window in windows) > 0.5

    # It starts a run by itself, with the data up to the latest label, and no second one meanwhile.
    deadline = time.monotonic() + 60
    while not ledger.find(Rollout) and time.monotonic() < deadline:
        controller.tick()
        time.sleep(0.2)
    triggered = ledger.find(Event, {"kind": "run.triggered"})
    assert len(triggered) == 1
    assert "2026-02-0" in str(triggered[0].evidence)
    (rollout,) = ledger.find(Rollout)
    assert (rollout.state, rollout.challenger) == ("canary", "sign@2")

    # Live labels show that the challenger is right: it is promoted, and the alert of the old version is closed.
    for number in range(8, 14):
        live.day(start + timedelta(days=number), {"sign@1": 0.1, "sign@2": 0.9})
        controller.tick()
    (rollout,) = ledger.find(Rollout)
    assert rollout.state == "promoted", rollout
    assert "it is better" in rollout.reason
    champion = champion_of(ledger, "sign")
    assert champion == version(ledger, "sign@2")
    assert not ledger.find(Alert, {"cleared_at": None})

    controller.retraining.stop()
    # A controller that starts anew knows all of this and does none of it again.
    events = len(ledger.find(Event))
    Controller(controller.project, controller.system, project.store()).tick()
    assert len(ledger.find(Event)) == events

"""A service's log written by hand, as its workers write it, and the versions that answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import polars as pl

from drivetrain.data.profile import profile_column, profile_table
from drivetrain.data.schema import Roles, columns_of
from drivetrain.registry.registry import CHAMPION, point_alias
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Signature, Version
from drivetrain.serving.journal import Journal, Label, Line, Names, folder_of
from drivetrain.serving.service import Canary, Service
from drivetrain.store.artifact import Artifact
from drivetrain.store.record import new_id, now
from drivetrain.store.store import Store
from drivetrain.system.system import System
from drivetrain.training.model import model
from drivetrain.training.reference import Reference

SERVICE, MODEL = "answers", "late"
START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)


@model
def late(rows: Any) -> dict:  # type: ignore[type-arg]  # it is never trained
    return {}


def service_of(canary: Canary | None = None) -> Service:
    return Service(late, canary=canary, name=SERVICE)


def system_of(*parts: Any) -> System:
    """Return a system that has these parts only: the model's own inputs are of no interest here."""
    system = System.__new__(System)
    system.name, system.module = "tested", None
    system.parts = {part.name: part for part in parts}
    return system


class World:
    """A store with versions, and a log that grows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.random = np.random.default_rng(0)
        self.names = Names()
        self._journals = {kind: Journal(folder_of(store, SERVICE), kind) for kind in ("predictions", "feedback")}

    def register(self, number: int, *, brier: float = 0.15, missing_in_training: float = 0.0) -> Version:
        """Register a version whose features were standard normal in training, and its predictions uniform."""
        trained = self.table(2000, missing=missing_in_training)
        frame = trained.drop("at").with_columns(at=pl.lit(START.replace(tzinfo=None)))
        reference = Reference(
            rows=2000,
            features=profile_table(trained.select("wind", "heat")),
            prediction=profile_column(pl.Series("prediction", np.linspace(0, 1, 2000))),
        )
        version = Version(
            id=f"{MODEL}@{number}",
            model=MODEL,
            number=number,
            system="tested",
            run="run-1",
            key=str(number),
            artifact=Artifact(digest="sha256:" + "0" * 64, format="json", size_bytes=2),
            signature=Signature(
                task="binary",
                label="late",
                classes=[False, True],
                request=columns_of(frame),
                features=columns_of(frame.select("wind", "heat")),
                roles=Roles(key="ticket", time="at", label="late"),
            ),
            code="",
            metrics={"quality.brier": brier, "quality.auc": 0.8},
            reference=self.store.keep_json(reference),
            created_at=now(),
        )
        self.store.ledger.write(version)
        return version

    def promote(self, version: Version) -> None:
        point_alias(self.store.ledger, MODEL, CHAMPION, version.id, reason="for a test")

    def try_out(self, champion: Version, challenger: Version) -> Rollout:
        rollout = Rollout(
            id=new_id("rollout"), service=SERVICE, model=MODEL, champion=champion.id, challenger=challenger.id,
            share=0.2, state="canary", started_at=now(),
        )  # fmt: skip
        self.store.ledger.write(rollout)
        return rollout

    def table(self, count: int, *, shift: float = 0.0, missing: float = 0.0) -> pl.DataFrame:
        heat = [None if self.random.random() < missing else float(value) for value in self.random.normal(0, 1, count)]
        return pl.DataFrame(
            {
                "ticket": [new_id("t") for _ in range(count)],
                "at": [START] * count,
                "wind": self.random.normal(shift, 1, count),
                "heat": pl.Series(heat, dtype=pl.Float64),
            }
        )

    def answer(
        self,
        version: Version,
        day: float,
        count: int = 100,
        *,
        shift: float = 0.0,
        missing: float = 0.0,
        arm: str = "champion",
    ) -> tuple[list[str], list[float]]:
        """Let a version answer rows spread over a day, and return the ids and the predictions."""
        table = self.table(count, shift=shift, missing=missing)
        moments = [START + (day + place / count) * DAY for place in range(count)]
        texts = [moment.replace(tzinfo=None).isoformat() for moment in moments]
        rows = table.drop("at").with_columns(at=pl.Series(texts)).to_dicts()
        ids = self.names.take(count)
        predictions = self.random.random(count).tolist()
        line = Line(
            at=int(now().timestamp() * 1e6),
            version=version.id,
            arm=arm,
            ids=ids,
            keys=[row["ticket"] for row in rows],
            requests=rows,
            predictions=predictions,
            features={"wind": table["wind"].to_list(), "heat": table["heat"].to_list()},
        )
        self._write("predictions", line)
        return ids, predictions

    def feedback(self, ids: Sequence[str], labels: Sequence[bool]) -> None:
        self._write(
            "feedback",
            *(Label(int(now().timestamp() * 1e6), bool(label), name) for name, label in zip(ids, labels, strict=True)),
        )

    def live_through(self, version: Version, days: Sequence[int], *, noise: float = 0.3, **options: Any) -> None:
        """Answer and label some days; `noise` is the share of labels that have nothing to do with the prediction."""
        for day in days:
            ids, predictions = self.answer(version, day, **options)
            self.feedback(ids, self.labels(predictions, noise))

    def labels(self, predictions: Sequence[float], noise: float) -> list[bool]:
        rates = [0.5 if self.random.random() < noise else float(value > 0.5) for value in predictions]
        return [bool(self.random.random() < rate) for rate in rates]

    def _write(self, kind: str, *lines: Any) -> None:
        self._journals[kind].write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def finish_parts(self) -> None:
        """Let go of the parts, so that they can be sealed."""
        for journal in self._journals.values():
            journal.close()

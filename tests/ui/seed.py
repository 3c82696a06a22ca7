"""Nine months of flights as a store remembers them: runs, versions, drift in May, a retraining, a canary that was
promoted, and a leaky challenger that was rolled back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import msgspec
import polars as pl

from drivetrain.data.profile import profile_table
from drivetrain.data.schema import Column, Kind, Roles
from drivetrain.experiments.remark import note, tag
from drivetrain.monitoring.window import Alert, Signal, Window
from drivetrain.pipeline.attachment import attach
from drivetrain.pipeline.figure import outcome_of, settings_of
from drivetrain.pipeline.points import Points
from drivetrain.pipeline.run import Run, RunState, StepRun
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import AliasChange, Decision, Judgement, Signature, Version
from drivetrain.security import event as events
from drivetrain.serving.journal import Journal, Label, Line, Names, folder_of
from drivetrain.store.artifact import Artifact
from drivetrain.store.digest import digest_of
from drivetrain.store.record import Record, now
from drivetrain.store.store import Store
from drivetrain.system.load import load_system
from drivetrain.system.part import Job
from drivetrain.system.system import System

SYSTEM = Path(__file__).with_name("flights.py")
# As long as a monitor's own words.
TRIGGERED = (
    "watch.drift: 2 of 7 features moved beyond PSI 0.2: dep_hour (PSI 0.31), visibility_miles (PSI 0.24), and both of "
    "them for the third day in a row"
)

_FEATURES: dict[str, tuple[Kind, float | None, float | None, float | None]] = {
    "dep_hour": ("int", 5, 23, 13.2),
    "month_day": ("int", 1, 31, 15.7),
    "distance_miles": ("float", 80.0, 4983.0, 1040.0),
    "wind_speed_mph": ("float", 0.0, 42.6, 10.4),
    "visibility_miles": ("float", 0.0, 10.0, 9.2),
    "pressure_mb": ("float", 983.8, 1042.1, 1017.9),
    "humidity": ("float", 12.7, 100.0, 62.5),
    "seats": ("int", 2, 450, 154.0),
    "carrier": ("str", None, None, None),
    "origin": ("str", None, None, None),
}
_COLUMNS = [
    Column(name=name, kind=kind, dtype={"int": "Int64", "float": "Float64"}.get(kind, "String"), nullable=index > 2,
           example=middle if middle is not None else {"carrier": "UA", "origin": "EWR"}[name])
    for index, (name, (kind, _, _, middle)) in enumerate(_FEATURES.items())
]  # fmt: skip
_BUILDS = {
    "original": {"one_row_s": 0.0035, "many_rows_s": 0.0041},
    "tried": [{"form": "onnx", "rows": 5_000, "differing_rows": 12, "largest_difference": 0.25,
               "reason": "12 of 5,000 rows differ by up to 0.25", "pace": {"one_row_s": 2e-5, "many_rows_s": 4e-4}}],
}  # fmt: skip
_ROLES = Roles(key="flight_id", time="scheduled", label="late", later=("departed_at",))
_REQUEST = [
    Column(name="flight_id", kind="str", dtype="String", example="UA1545-2013-01-01"),
    Column(name="scheduled", kind="datetime", dtype="Datetime('us')", example="2013-01-01T05:15:00"),
    *[column for column in _COLUMNS if column.name in ("carrier", "origin", "distance_miles", "seats")],
]


def system() -> System:
    """Return the system that the records tell of."""
    return load_system(SYSTEM, name="flights")


def seeded(root: Path) -> Store:
    """Return a store with the whole story, its last quarter of an hour ending now."""
    store = Store.open(root)
    Story(store).tell()
    return store


def answered(store: Store) -> str:
    """Write an answer and what turned out to be true into the service's log, and return the prediction's id."""
    name = Names().take(1)[0]
    at = int(now().timestamp() * 1e6)
    request = {"flight_id": "UA1545-2013-09-28", "scheduled": "2013-09-28T17:15:00", "carrier": "UA", "origin": "EWR",
               "distance_miles": 1400.0, "seats": 149}  # fmt: skip
    features = {"dep_hour": 17, "month_day": 28, "wind_speed_mph": 14.9, "visibility_miles": 10.0,
                "pressure_mb": 1009.2, "humidity": 81.3, "carrier": "UA", "origin": "EWR", "distance_miles": 1400.0,
                "seats": 149}  # fmt: skip
    line = Line(at=at, version="lateness@3", arm="champion", ids=[name], keys=[request["flight_id"]],
                requests=[request], predictions=[0.4137],
                features={name: [value] for name, value in features.items()})  # fmt: skip
    for kind, body in (("predictions", line), ("feedback", Label(at=at + 7_200_000_000, label=True, id=name))):
        journal = Journal(folder_of(store, "service"), kind)
        journal.write(msgspec.json.encode(body) + b"\n")
        journal.close()
    return name


def world(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2013, month, day, hour, tzinfo=UTC)


class Story:
    """Writes what happened, in order; the replay of nine months takes a little over four hours by the clock."""

    def __init__(self, store: Store) -> None:
        self.store, self.random = store, Random(7)
        self.clock = now() - timedelta(hours=4, minutes=20)
        self.profile = store.keep_json(_profile(self.random))
        self.runs = 0

    def tell(self) -> None:
        self.first()
        self.drift()
        self.leak()
        self.today()

    def first(self) -> None:
        run = self.run("by hand", until="2013-04-01", rows=80_789, auc=0.7012, fresh=set(_SECONDS))
        self.attached(run)
        self.pass_time(3)
        self.version(run, 1, 0.7012, {"learning_rate": 0.1, "leaves": 31}, until="2013-04-01")
        self.decide(run, 1, "", 0.7012, None, "promoted")
        self.alias(1, "", "first version to pass the gate", world(4, 1))
        self.event("service.started", "service", "The service began to answer with lateness@1.", world(4, 1))
        self.pass_time(9)
        self.run("by hand", until="2013-04-01", rows=80_789, auc=0.0, fresh={"flights"}, failing=True)
        self.pass_time(12)
        run = self.run("by hand", until="2013-04-01", rows=80_789, auc=0.6987, fresh={"lateness", "quality", "gate"},
                       why="setting learning_rate 0.1 → 0.3")  # fmt: skip
        self.version(run, 2, 0.6987, {"learning_rate": 0.3, "leaves": 31}, until="2013-04-01")
        self.decide(run, 2, "lateness@1", 0.6987, 0.7012, "refused")
        self.pass_time(14)
        self.run("by hand", until="2013-04-01", rows=80_789, auc=0.7012, fresh=set())

    def attached(self, run: str) -> None:
        tag(self.store.ledger, run, ["baseline", "v1"], actor="ada")
        note(self.store.ledger, run, "Without the weather of the arrival: it is not known an hour before.", actor="ada")
        attach(self.store, run, "quality", "confusion", {"late": [812, 1104], "in time": [403, 6808]})
        attach(self.store, run, "quality", "by_carrier", pl.DataFrame(
            {"carrier": ["UA", "B6", "EV", "DL"] * 5, "flights": range(20), "auc": [0.71, 0.69, 0.73, 0.7] * 5}
        ))  # fmt: skip
        attach(self.store, run, "quality", "report", "A flight is late when it leaves after 15 minutes.\n" * 3)

    def drift(self) -> None:
        self.pass_time(20)
        raised, happened = self.clock, world(5, 13)
        self.event(
            "drift.raised", "watch",
            "Drift: dep_hour (0.31) and visibility_miles (0.24) left what lateness@1 was trained on.",
            happened, dep_hour=0.31, visibility_miles=0.24, limit=0.2,
        )  # fmt: skip
        self.pass_time(1)
        self.event(
            "run.triggered", "retrain", "Retraining began because of drift, with flights up to 13 May.", happened,
            reason=TRIGGERED,
        )  # fmt: skip
        run = self.run(TRIGGERED, until="2013-05-13", rows=118_904, auc=0.7281,
                       fresh=set(_SECONDS) - {"weather"}, why="setting until 2013-04-01 → 2013-05-13")  # fmt: skip
        self.version(run, 3, 0.7281, {"learning_rate": 0.1, "leaves": 31}, until="2013-05-13")
        self.decide(run, 3, "lateness@1", 0.7281, 0.6904, "canary")
        started = self.clock
        self.event("canary.started", "lateness@3", "lateness@3 gets 20 % of the requests, beside lateness@1.", happened)
        self.pass_time(11)
        evidence = _evidence(7_180, 1_803, 0.1624, 0.1487, 0.0061)
        self.rollout("lateness@1", "lateness@3", "promoted", started, evidence,
                     "it is better: brier 0.1487 on 1,803 labels, where lateness@1 has 0.1624 on 7,180")  # fmt: skip
        self.event("version.promoted", "lateness@3", "lateness@3 is the champion: it beat lateness@1 by 0.048 auc.",
                   world(5, 27), auc=0.7194)  # fmt: skip
        self.alias(3, "lateness@1", "the canary beat the champion", world(5, 27))
        self.write(
            Alert(
                id="alert-0000000000001", monitor="watch", rule="drift > 0.2", version="lateness@1",
                message="dep_hour and visibility_miles drifted", raised_at=raised, cleared_at=self.clock,
                happened_at=happened, evidence={"dep_hour": 0.31, "visibility_miles": 0.24},
            )
        )  # fmt: skip
        self.event("drift.cleared", "watch", "No feature drifts any more, measured against lateness@3.", world(5, 27))

    def leak(self) -> None:
        self.pass_time(35)
        run = self.run("until August", until="2013-08-01", rows=196_211, auc=0.9342,
                       fresh={"flights", "departure", "train", "test", "lateness", "quality", "gate"},
                       why="code of departure; setting until 2013-05-13 → 2013-08-01")  # fmt: skip
        self.version(run, 4, 0.9342, {"learning_rate": 0.1, "leaves": 63}, until="2013-08-01")
        self.decide(run, 4, "lateness@3", 0.9342, 0.7203, "canary")
        started = self.clock
        self.event(
            "canary.started", "lateness@4", "lateness@4 gets 20 % of the requests, beside lateness@3.", world(8, 5)
        )
        self.pass_time(6)
        evidence = _evidence(4_998, 1_262, 0.1502, 0.2217, 0.0118)
        self.rollout("lateness@3", "lateness@4", "rolled_back", started, evidence,
                     "it is worse: brier 0.2217 on 1,262 labels, where lateness@3 has 0.1502 on 4,998")  # fmt: skip
        self.event("version.rolled_back", "lateness@4",
                   "lateness@4 was taken back: 0.611 auc on live rows, 0.934 in its test. A feature knew the answer.",
                   world(8, 19), live_auc=0.6108, test_auc=0.9342)  # fmt: skip

    def today(self) -> None:
        self.pass_time(25)
        run = self.run("schedule: Mondays at 3", until="2013-09-16", rows=239_870, auc=0.7337,
                       fresh=set(_SECONDS), why="setting until 2013-08-01 → 2013-09-16")  # fmt: skip
        self.version(run, 5, 0.7337, {"learning_rate": 0.1, "leaves": 31}, until="2013-09-16")
        self.decide(run, 5, "lateness@3", 0.7337, 0.7218, "canary")
        self.clock = now() - timedelta(minutes=12)
        self.event(
            "canary.started", "lateness@5", "lateness@5 gets 20 % of the requests, beside lateness@3.", world(9, 16)
        )
        evidence = _evidence(2_204, 548, 0.1496, 0.1466, 0.0142)
        self.rollout("lateness@3", "lateness@5", "canary", self.clock, evidence, "")
        self.clock = now() - timedelta(minutes=7)
        self.write(
            Alert(
                id="alert-0000000000002", monitor="watch", rule="drift > 0.2", version="lateness@3",
                message="humidity drifted: 0.23, above 0.2", raised_at=self.clock,
                happened_at=world(9, 23), evidence={"humidity": 0.23},
            )
        )  # fmt: skip
        self.event("drift.raised", "watch", "Drift: humidity (0.23) left what lateness@3 was trained on.",
                   world(9, 23), humidity=0.23)  # fmt: skip
        self.write(*_signals(self.random), *_windows(self.random))

    def write(self, *records: Record) -> None:
        self.store.ledger.write(*records)

    def pass_time(self, minutes: float) -> None:
        self.clock += timedelta(minutes=minutes)

    def event(
        self, kind: str, subject: str, message: str, happened_at: datetime | None = None, **evidence: Any
    ) -> None:
        with patch.object(events, "now", lambda: self.clock):
            events.record_event(
                self.store.ledger, kind, subject=subject, message=message, happened_at=happened_at, evidence=evidence
            )

    def run(
        self,
        reason: str,
        *,
        until: str,
        rows: int,
        auc: float,
        fresh: set[str],
        why: str = "first time",
        failing: bool = False,
    ) -> str:
        self.runs += 1
        run = f"run-0f3k9v2m{self.runs:05d}"
        started, made = self.clock, list[StepRun]()
        given: dict[str, dict[str, Any]] = {
            "flights": {"until": until},
            "lateness": {"learning_rate": 0.1, "leaves": 31},
        }
        state: RunState = "failed" if failing else "finished"
        changed = b"-    leaves: int = 31\n+    leaves: int = 63\n"
        outputs = self.outputs(rows, auc)
        for step, (role, seconds) in _SECONDS.items():
            is_fresh = step in fresh
            failed = failing and step == "flights"
            made.append(
                StepRun(
                    run=run, step=step, role=role, key=digest_of(f"{step}{until}{auc}".encode()),
                    state="failed" if failed else "finished" if is_fresh else "cached",
                    origin=run if is_fresh else "run-0f3k9v2m00001", started_at=self.clock,
                    reason=why if is_fresh else "nothing changed",
                    seconds=seconds * self.random.uniform(0.9, 1.2) * rows / 80_000 if is_fresh else 0.0,
                    peak_mib=self.random.uniform(60, 420) if is_fresh else 0.0,
                    inputs={} if failed else _inputs(step, outputs), outputs={} if failed else outputs[step],
                    settings=given.get(step, {}),
                    ingredients={"code": digest_of(step.encode()), "package.polars": "2.1.0"}
                    | {f"input.{name}": digest_of(name.encode()) for name in _NEEDS.get(step, ())},
                    error=_FAILURE if failed else "",
                )
            )  # fmt: skip
            self.clock += timedelta(seconds=made[-1].seconds)
            if failed:
                break
        if "lateness" in fresh:
            fitted = Points(cast("Job", SimpleNamespace(store=self.store, run=run)), "lateness")
            for name, low in (("loss", 0.41), ("validation_loss", 0.45)):
                for index in range(60):
                    loss = low + 0.25 * math.exp(-index / 18) + self.random.uniform(0, 0.004)
                    fitted.log(name, loss)
            fitted.close()
            judged = Points(cast("Job", SimpleNamespace(store=self.store, run=run)), "quality")
            judged.log("auc", auc)
            judged.log("brier", 0.19 - auc / 20)
            judged.close()
        finished = Run(
                id=run, system="flights", state=state, started_at=started, finished_at=self.clock, reason=reason,
                actor="ada", settings=given,
                commit="4f9d2c81a07be6635d8c0e41f2ab97c35de81f06",
                dirty_diff=self.store.artifacts.put(changed) if auc > 0.9 else "",
                environment={"python": "3.11.7", "platform": "linux", "processors": "2", "polars": "2.1.0",
                             "scikit-learn": "1.9.1"},
                error=_FAILURE.splitlines()[0] if failing else "",
        )  # fmt: skip
        figures = outcome_of(self.store.ledger, run, made)
        self.write(*made, finished, *settings_of(finished), *figures)
        done = [step.state for step in made]
        self.event(
            f"run.{state}", run,
            f"A run ({reason}) finished: {done.count('finished')} steps run, {done.count('cached')} unchanged."
            if not failing else f"A run ({reason}) failed: not_null(carrier) does not hold for 17 of 80,789 rows.",
        )  # fmt: skip
        return run

    def outputs(self, rows: int, auc: float) -> dict[str, dict[str, Artifact]]:
        roles = msgspec.to_builtins(_ROLES)
        columns = msgspec.to_builtins(_COLUMNS)
        table = {"roles": roles, "columns": columns, "profile": self.profile}
        features = {
            "roles": roles,
            "columns": columns,
            "features": "departure",
            "dataset": "flights",
            "side": ["weather"],
        }
        quality = {"auc": auc, "brier": 0.19 - auc / 20, "rows": 9_127.0}
        return {
            "flights": {"flights": _artifact("flights", rows, "parquet", table)},
            "weather": {"weather": _artifact("weather", 26_115, "parquet", {"columns": columns[3:7]})},
            "departure": {"departure": _artifact("departure", rows, "parquet", features)},
            "train": {"train": _artifact("train", rows - 9_127, "parquet", features)},
            "test": {"test": _artifact("test", 9_127, "parquet", features)},
            "lateness": {"lateness": _artifact("lateness", None, "skops", {"training": "train"})},
            "quality": {"quality": _artifact("quality", None, "json", {"metrics": quality})},
            "gate": {"gate": _artifact("gate", None, "json", {})},
        }

    def version(self, run: str, number: int, auc: float, settings: dict[str, Any], *, until: str) -> None:
        self.write(
            Version(
                id=f"lateness@{number}", model="lateness", number=number, system="flights", run=run,
                key=digest_of(run.encode()),
                artifact=Artifact(digest=digest_of(run.encode()), format="skops", size_bytes=412_887,
                                  detail={"builds": _BUILDS}),
                signature=Signature(task="binary", label="late", classes=[False, True], request=_REQUEST,
                                    features=_COLUMNS, roles=_ROLES),
                code=digest_of(b"bundle"), features="departure", dataset="flights",
                side_inputs={"weather": _artifact("weather", 26_115, "parquet", {})},
                metrics={"quality.auc": auc, "quality.brier": 0.19 - auc / 20, "quality.accuracy": 0.79 + auc / 30},
                settings={"lateness": settings, "flights": {"until": until}},
                created_at=self.clock,
            )
        )  # fmt: skip

    def decide(
        self, run: str, number: int, champion: str, auc: float, champion_auc: float | None, outcome: Any
    ) -> None:
        judgements = [Judgement(condition="quality.auc >= 0.65", found=auc, limit=0.65, holds=auc >= 0.65)]
        judgements.append(
            Judgement(condition="quality.auc > champion", found=auc, limit=champion_auc,
                      holds=champion_auc is None or auc > champion_auc,
                      note="there is no champion yet" if champion_auc is None else f"{champion} on the same rows")
        )  # fmt: skip
        passed = all(judgement.holds for judgement in judgements)
        self.write(
            Decision(
                id=f"decision-{number:013d}", gate="gate", model="lateness", version=f"lateness@{number}",
                champion=champion, run=run, passed=passed, judgements=judgements, outcome=outcome, at=self.clock,
            )
        )  # fmt: skip
        verb, why = (
            ("passed", "all conditions hold")
            if passed
            else ("refused", f"auc {auc:.3f} is not above {champion_auc:.3f}")
        )
        self.event(f"gate.{verb}", f"lateness@{number}", f"The gate {verb} lateness@{number}: {why}.", auc=auc)

    def alias(self, number: int, previous: str, reason: str, happened_at: datetime) -> None:
        self.write(
            AliasChange(
                id=f"alias-{number:013d}", model="lateness", alias="champion", version=f"lateness@{number}",
                previous=previous, at=self.clock, reason=reason, actor="drivetrain",
            )
        )  # fmt: skip

    def rollout(
        self, champion: str, challenger: str, state: Any, started: datetime, evidence: dict[str, Any], reason: str
    ) -> None:
        self.write(
            Rollout(
                id=f"rollout-{challenger[-1]:0>13}", service="service", model="lateness", champion=champion,
                challenger=challenger, share=0.2, state=state, started_at=started, reason=reason, evidence=evidence,
                decided_at=None if state == "canary" else self.clock,
            )
        )  # fmt: skip


_SECONDS = {
    "flights": ("dataset", 0.41),
    "weather": ("dataset", 0.08),
    "departure": ("features", 0.62),
    "train": ("split", 0.09),
    "test": ("split", 0.04),
    "lateness": ("model", 4.2),
    "quality": ("evaluation", 0.35),
    "gate": ("gate", 0.02),
}
_NEEDS = {
    "departure": ("flights", "weather"), "train": ("departure",), "test": ("departure",), "lateness": ("train",),
    "quality": ("lateness", "test"), "gate": ("lateness", "quality"),
}  # fmt: skip
_FAILURE = """system.py:14: step 'flights' failed: not_null(carrier) does not hold for 17 of 80,789 rows
  → mend the source, or loosen the check where it is declared

  File "system.py", line 16, in flights
    return dt.read("data/flights.parquet").filter(pl.col("scheduled") < pl.lit(until).str.to_datetime())
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"""


def _evidence(labels: int, new_labels: int, brier: float, new_brier: float, half: float) -> dict[str, float]:
    """Return the figures that a canary's verdict rests on."""
    difference = new_brier - brier
    return {
        "labels_champion": labels, "labels_challenger": new_labels, "brier_champion": brier,
        "brier_challenger": new_brier, "difference": difference, "low": difference - half, "high": difference + half,
        "confidence": 0.95,
    }  # fmt: skip


def _artifact(name: str, rows: int | None, form: str, detail: dict[str, Any]) -> Artifact:
    digest = digest_of(f"{name}{rows}".encode())
    return Artifact(
        digest=digest, format=form, size_bytes=(rows or 2_000) * 41, rows=rows, type_name="DataFrame", detail=detail
    )


def _inputs(step: str, outputs: dict[str, dict[str, Artifact]]) -> dict[str, Artifact]:
    given = {name: artifact for each in outputs.values() for name, artifact in each.items()}
    return {name: given[name] for name in _NEEDS.get(step, ())}


def _signals(random: Random) -> Iterator[Signal]:
    """Yield the last quarter of an hour, a record every five seconds."""
    for index in range(180):
        traffic = 96 + 34 * math.sin(index / 23) + random.gauss(0, 5)
        slow = 1.9 if 120 < index < 128 else 1.0
        yield Signal(
            service="service", at=now() - timedelta(seconds=5 * (179 - index)), seconds=5.0, requests=int(traffic * 5),
            rows=int(traffic * 5.4), errors=2 if index in (124, 125) else 0,
            latency_p50_ms=1.1 * slow + random.uniform(0, 0.1), latency_p99_ms=3.6 * slow + random.uniform(0, 0.9),
            busy_share=min(0.95, traffic / 420 * slow), workers=2,
        )  # fmt: skip


def _windows(random: Random) -> Iterator[Window]:
    """Yield a window a week from April to September, of the champion of the time and of each canary."""
    for week in range(26):
        starts = world(4, 1) + timedelta(weeks=week)
        champion = "lateness@1" if starts < world(5, 27) else "lateness@3"
        yield _window(random, champion, starts, 1.0 if week != 25 else 0.4)
        if world(5, 13) <= starts < world(5, 27):
            yield _window(random, "lateness@3", starts, 0.25)
        if world(8, 5) <= starts < world(8, 19):
            yield _window(random, "lateness@4", starts, 0.25)
        if starts >= world(9, 16):
            yield _window(random, "lateness@5", starts, 0.25)


def _window(random: Random, version: str, starts: datetime, share: float) -> Window:
    week = (starts - world(4, 1)).days // 7
    age = max(0, week - {"lateness@1": 0, "lateness@3": 6, "lateness@4": 18, "lateness@5": 24}[version])
    drift = {name: abs(random.gauss(0.02, 0.012)) for name in _FEATURES}
    if version == "lateness@1":
        drift["dep_hour"] += 0.05 * max(0, week - 2)
        drift["visibility_miles"] += 0.04 * max(0, week - 2)
    drift["humidity"] += 0.012 * age
    rows = int(6_400 * share + random.gauss(0, 200) * share)
    rate = 0.19 + 0.06 * math.sin(week / 4) + random.gauss(0, 0.008)
    quality = {
        "lateness@1": 0.70 - 0.006 * age,
        "lateness@3": 0.728 - 0.001 * age,
        "lateness@4": 0.611,
        "lateness@5": 0.731,
    }
    labelled = int(rows * (0.6 if week == 25 else 0.97))
    return Window(
        monitor="watch", service="service", version=version, starts_at=starts, ends_at=starts + timedelta(weeks=1),
        rows=rows, labelled=labelled, drift=drift, prediction_drift=0.01 + 0.02 * max(0, age - 3) / 4,
        mean_prediction=rate - 0.004 * age, mean_label=rate,
        quality={"auc": quality[version] + random.gauss(0, 0.006), "brier": 0.155 + random.gauss(0, 0.003)},
        is_closed=week != 25, at=now() - timedelta(minutes=(26 - week) * 8),
    )  # fmt: skip


def _profile(random: Random) -> dict[str, Any]:
    """Return the profile of a table in which each column lies about its middle."""
    table: dict[str, list[Any]] = {}
    for name, (kind, low, high, middle) in _FEATURES.items():
        if low is None or high is None or middle is None:
            table[name] = random.choices(["UA", "B6", "EV", "DL"] if name == "carrier" else ["EWR", "JFK"], k=3_000)
            continue
        values = [min(high, max(low, random.gauss(middle, (high - low) / 7))) for _ in range(3_000)]
        table[name] = [int(value) if kind == "int" else value if random.random() > 0.01 else None for value in values]
    found: dict[str, Any] = msgspec.to_builtins(profile_table(pl.DataFrame(table)))
    return found

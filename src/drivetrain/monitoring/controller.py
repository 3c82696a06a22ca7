"""The controller: it looks at every service again and again, and acts: retrain, judge canaries, promote, roll back."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from drivetrain.errors import DrivetrainError
from drivetrain.monitoring import alerts
from drivetrain.monitoring.canary import Arm, Verdict, guard, judge
from drivetrain.monitoring.duration import duration
from drivetrain.monitoring.monitor import Monitor
from drivetrain.monitoring.quality import known, loss_name, losses
from drivetrain.monitoring.signals import SignalReader
from drivetrain.monitoring.supervisor import end_with_parent
from drivetrain.monitoring.traffic import Traffic
from drivetrain.monitoring.trigger import Trigger
from drivetrain.monitoring.window import Alert, Window
from drivetrain.monitoring.windows import ends_to_look_at, look
from drivetrain.pipeline.run import Run
from drivetrain.registry.registry import CHAMPION, champion_of, point_alias, version
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Version
from drivetrain.security.event import Event, record_event
from drivetrain.serving.sealing import seal
from drivetrain.store.record import now

if TYPE_CHECKING:
    from drivetrain.serving.service import Service
    from drivetrain.store.store import Store
    from drivetrain.system.settings import Project
    from drivetrain.system.system import System

LOG = logging.getLogger("drivetrain.monitoring")
_DAY = timedelta(days=1)
# After a run that failed or whose model was refused, a trigger rests this share of its cooldown before it tries again.
RETRY_SHARE = 0.25


class Watched:
    """One service with its monitors, and what was read of its log."""

    def __init__(self, store: Store, service: Service, monitors: list[Monitor]) -> None:
        self.service, self.monitors = service, monitors
        steps = [monitor.step for monitor in monitors] or [_DAY]
        lengths = [monitor.length for monitor in monitors] or [_DAY]
        within = duration(service.canary.within) if service.canary else _DAY
        self.traffic = Traffic(store, service.name, step=min(steps), horizon=max(*lengths, within) + 7 * _DAY)
        self.signals = SignalReader(store, service.name)
        self.looked_until: datetime | None = None


class Controller:
    """Watches the services of a system and acts as its monitors, triggers and canaries declare.

    All that it decides is in the ledger before it acts on it, and all that it knows follows from the ledger and the
    prediction log: killed at any point, the next one goes on.
    """

    def __init__(self, project: Project, system: System, store: Store) -> None:
        self.project, self.system, self.store = project, system, store
        monitors: list[Monitor] = system.of_role(Monitor)
        self.triggers: list[Trigger] = system.of_role(Trigger)
        self.watched = [
            Watched(store, service, [monitor for monitor in monitors if monitor.service.name == service.name])
            for service in system.of_role("service")
        ]
        self._run: subprocess.Popen[bytes] | None = None
        self._began_at = now()

    def run_forever(self, stop: threading.Event) -> None:
        """Look every `monitor.every_s` seconds until told to stop; an error is logged, and the next look goes on."""
        while not stop.wait(self.project.get("monitor.every_s")):
            try:
                self.tick()
            except DrivetrainError as error:
                LOG.error("%s", error)
        if self._run is not None:
            self._run.terminate()
            self._run.wait()

    def tick(self) -> None:
        """Look at everything once, and act on it."""
        for watched in self.watched:
            seal(self.store, watched.service.name)
            signal = watched.signals.read()
            if signal is not None:
                self.store.ledger.write(signal)
            if watched.traffic.read():
                self._look(watched)
            self._judge_canary(watched)
        self._fire()

    def _look(self, watched: Watched) -> None:
        """Bring the windows and alerts of a service up to date."""
        traffic, ledger = watched.traffic, self.store.ledger
        touched, traffic.touched = traffic.touched, set()
        champion = champion_of(ledger, watched.service.model.name)
        names = {name for name, _ in touched} | ({champion.id} if champion else set())
        for monitor in watched.monitors:
            fresh = []
            for name in names:
                chosen = ledger.get(Version, name)
                if chosen is None or name not in traffic.first_times:
                    continue
                steps = {step for its, step in touched if its == name}
                ends = ends_to_look_at(monitor, traffic, steps, since=watched.looked_until)
                fresh += [found for end in ends if (found := look(monitor, traffic, chosen, end)) is not None]
            ledger.write(*fresh)
            if champion is not None:
                where = {"monitor": monitor.name, "version": champion.id, "is_closed": True}
                since = traffic.watermark - 2 * monitor.length - monitor.settle * monitor.step
                windows = ledger.find(Window, where | {"ends_at >=": since}, order="ends_at")
                alerts.update(ledger, monitor, champion, windows)
        watched.looked_until = traffic.watermark

    def _judge_canary(self, watched: Watched) -> None:
        ledger, traffic = self.store.ledger, watched.traffic
        for rollout in ledger.find(Rollout, {"service": watched.service.name, "state": "canary"}):
            champion = champion_of(ledger, rollout.model)
            if champion is None or champion.id == rollout.challenger:
                self._end(rollout, "promoted", "it was made champion by hand", {}, traffic)
            elif champion.id != rollout.champion:
                self._end(rollout, "rolled_back", f"{champion.id} became champion meanwhile", {}, traffic)
            elif rollout.challenger in traffic.first_times and watched.service.canary is not None:
                verdict = self._verdict(watched, rollout, champion)
                if verdict.outcome:
                    self._end(rollout, verdict.outcome, verdict.reason, verdict.evidence, traffic)

    def _verdict(self, watched: Watched, rollout: Rollout, champion: Version) -> Verdict:
        canary, traffic = watched.service.canary, watched.traffic
        assert canary is not None
        challenger = version(self.store.ledger, rollout.challenger)
        start, end = traffic.first_times[challenger.id], traffic.watermark + _DAY
        hint = _guarded(traffic, champion, challenger, start, end)
        if hint is not None and "broken" in hint.evidence:
            return hint
        arms = [_arm(each, traffic, start, end, canary.metric) for each in (champion, challenger)]
        verdict = judge(
            arms[0],
            arms[1],
            metric=loss_name(challenger.signature, canary.metric),
            at_least=canary.at_least,
            confidence=canary.confidence,
            is_over=traffic.watermark >= start + duration(canary.within),
        )
        if hint is not None and verdict.outcome == "rolled_back":
            return msgspec.structs.replace(
                verdict, reason=f"{verdict.reason}; {hint.reason}", evidence=verdict.evidence | hint.evidence
            )
        return verdict

    def _end(self, rollout: Rollout, outcome: Any, reason: str, evidence: dict[str, float], traffic: Traffic) -> None:
        """Record how a rollout ended, and promote the challenger where it did well: both or neither."""
        ledger = self.store.ledger
        happened_at = traffic.watermark if traffic.has_time else None
        with ledger.transaction():
            ledger.write(
                msgspec.structs.replace(rollout, state=outcome, decided_at=now(), reason=reason, evidence=evidence)
            )
            champion = champion_of(ledger, rollout.model)
            if outcome == "rolled_back":
                record_event(
                    ledger,
                    "canary.rolled_back",
                    subject=rollout.challenger,
                    message=f"{rollout.challenger} is taken back, {rollout.champion} answers alone: {reason}",
                    actor=rollout.service,
                    evidence=evidence,
                    happened_at=happened_at,
                )
                return
            if champion is None or champion.id != rollout.challenger:
                point_alias(
                    ledger,
                    rollout.model,
                    CHAMPION,
                    rollout.challenger,
                    reason=reason,
                    actor=rollout.service,
                    evidence=evidence,
                    happened_at=happened_at,
                )
            alerts.close_all(ledger, rollout.champion, f"{rollout.challenger} took its place")

    def _fire(self) -> None:
        """Start a run where a trigger asks for one; never two at once, nor while a canary is undecided."""
        if self._run is not None:
            if self._run.poll() is None:
                return
            self._run = None
        ledger = self.store.ledger
        if ledger.find(Rollout, {"state": "canary"}) or self._is_running():
            return
        for trigger in self.triggers:
            reason = self._reason(trigger)
            if reason:
                self._start(trigger, reason)
                return

    def _reason(self, trigger: Trigger) -> str:
        """Return why a trigger fires now, or nothing."""
        ledger = self.store.ledger
        present = self._present(trigger)
        last = ledger.find(Event, {"kind": "run.triggered", "subject": trigger.name}, order="-number", limit=1)
        rest = trigger.rest * (RETRY_SHARE if last and self._failed_since(last[0]) else 1.0)
        for watch in trigger.watches:
            champion = champion_of(ledger, watch.monitor.service.model.name)
            where = {"monitor": watch.monitor.name, "rule": watch.rule, "cleared_at": None}
            for alert in ledger.find(Alert, where):
                is_rested = not last or present - (last[0].happened_at or last[0].at) >= rest
                # A version that has taken over since the last run is judged by itself.
                is_new = bool(last) and alert.raised_at > last[0].at and not self._failed_since(last[0])
                if champion is not None and alert.version == champion.id and (is_rested or is_new):
                    return f"{watch}: {alert.message}"
        for calendar in trigger.calendars:
            since = last[0].at if last else self._began_at
            if calendar.next_after(since) <= now():
                return f"the calendar {calendar}"
        return ""

    def _failed_since(self, event: Event) -> bool:
        """Return whether no version took over after a trigger's last run."""
        return not self.store.ledger.find(Event, {"kind": "version.promoted", "number >": event.number}, limit=1)

    def _start(self, trigger: Trigger, reason: str) -> None:
        present = self._present(trigger)
        settings = trigger.resolved(present)
        words = [f"--set={name}={_text(value)}" for name, value in settings.items()]
        record_event(
            self.store.ledger,
            "run.triggered",
            subject=trigger.name,
            message=f"{trigger.name} starts a run: {reason}",
            actor=trigger.name,
            evidence=settings,
            happened_at=present if self._has_time(trigger) else None,
        )
        file = ["--file", str(self.system.module.__file__)] if self.system.module is not None else []
        logs = self.store.root / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / "run.log").open("ab") as log:
            self._run = subprocess.Popen(
                [sys.executable, "-m", "drivetrain", "run", "--reason", reason, *file, *words],
                cwd=self.project.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),
            )

    def _is_running(self) -> bool:
        return bool(self.store.ledger.find(Run, {"state": "running"}, limit=1))

    def _traffics(self, trigger: Trigger) -> list[Traffic]:
        names = {watch.monitor.service.name for watch in trigger.watches}
        return [watched.traffic for watched in self.watched if not names or watched.service.name in names]

    def _present(self, trigger: Trigger) -> datetime:
        return max((traffic.present for traffic in self._traffics(trigger)), default=now())

    def _has_time(self, trigger: Trigger) -> bool:
        return any(traffic.has_time for traffic in self._traffics(trigger))


def _arm(chosen: Version, traffic: Traffic, start: datetime, end: datetime, metric: str) -> Arm:
    truth, predicted = known(chosen.signature, traffic.of(chosen.id, start, end))
    if not len(truth):
        return Arm(version=chosen.id, labels=0)
    found = losses(chosen.signature, truth, predicted, metric)
    variance = float(np.var(found, ddof=1)) if len(found) > 1 else 0.0
    return Arm(version=chosen.id, labels=len(found), mean=float(found.mean()), variance=variance)


def _guarded(
    traffic: Traffic, champion: Version, challenger: Version, start: datetime, end: datetime
) -> Verdict | None:
    """Return what the challenger's inputs and answers show without any label."""
    first, last = traffic.start_of(traffic.step_of(start)), traffic.start_of(traffic.step_of(end))
    rows = traffic.of(challenger.id, start, end)
    reference = traffic.reference(challenger.id)
    trained = (
        {name: profile.bins.counts[-1] / max(reference.rows, 1) for name, profile in reference.features.items()}
        if reference is not None
        else {}
    )
    broken = (
        rows["prediction"].is_null() | rows["prediction"].is_nan()
        if rows["class"].is_null().all()
        else pl.Series([False])
    )
    return guard(
        champion.id,
        challenger.id,
        rows=len(rows),
        broken=int(broken.sum()),
        missing=_missing(traffic, challenger.id, first, last),
        missing_in_training=trained,
        missing_for_champion=_missing(traffic, champion.id, first, last),
    )


def _missing(traffic: Traffic, name: str, first: datetime, last: datetime) -> dict[str, float]:
    """Return the share of missing values of each feature: the last bin has them."""
    total = traffic.bucket(name, first, last)
    return {feature: float(counts[-1]) / max(total.rows, 1) for feature, counts in total.features.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

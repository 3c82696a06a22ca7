"""The controller: it looks at every service again and again, and acts: retrain, judge canaries, promote, roll back."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING

from drivetrain.data.duration import duration
from drivetrain.errors import DrivetrainError
from drivetrain.monitoring import alerts, trial
from drivetrain.monitoring.monitor import Monitor
from drivetrain.monitoring.retraining import Present, Retraining
from drivetrain.monitoring.signals import SignalReader
from drivetrain.monitoring.traffic import Traffic
from drivetrain.monitoring.window import Window
from drivetrain.monitoring.windows import ends_to_look_at, look
from drivetrain.registry.registry import champion_of
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Version
from drivetrain.serving.sealing import seal
from drivetrain.store.record import now

if TYPE_CHECKING:
    from drivetrain.monitoring.trigger import Trigger
    from drivetrain.serving.service import Service
    from drivetrain.store.store import Store
    from drivetrain.system.settings import Project
    from drivetrain.system.system import System

LOG = logging.getLogger("drivetrain.monitoring")
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
# A look that takes long, because there is much to read, leaves the machine free for so many times as long.
PAUSE_FACTOR = 2.0


class Watched:
    """One service with its monitors, and what was read of its log."""

    def __init__(self, store: Store, service: Service, monitors: list[Monitor]) -> None:
        self.service, self.monitors = service, monitors
        steps = [monitor.step for monitor in monitors] or [_DAY]
        lengths = [monitor.length + monitor.settle * monitor.step for monitor in monitors] or [_DAY]
        within = 2 * duration(service.canary.within) if service.canary else _DAY
        common = reduce(gcd, (step // _MICROSECOND for step in steps)) * _MICROSECOND
        self.traffic = Traffic(store, service.name, step=common, horizon=max(*lengths, within) + 7 * _DAY)
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
        self.watched = [
            Watched(store, service, [monitor for monitor in monitors if monitor.service.name == service.name])
            for service in system.of_role("service")
        ]
        self.retraining = Retraining(project, system, store, present=self._present)

    def run_forever(self, stop: threading.Event) -> None:
        """Look every `monitor.every_s` seconds until told to stop; an error is logged, and the next look goes on."""
        pause_s = 0.0
        try:
            while not stop.wait(pause_s):
                began = time.monotonic()
                try:
                    self.tick()
                except DrivetrainError as error:
                    LOG.error("%s", error)
                pause_s = max(self.project.get("monitor.every_s"), PAUSE_FACTOR * (time.monotonic() - began))
        finally:
            self.retraining.stop()

    def tick(self) -> None:
        """Look at everything once, and act on it."""
        for watched in self.watched:
            seal(self.store, watched.service.name)
            signal = watched.signals.read()
            if signal is not None:
                self.store.ledger.write(signal)
            has_news = watched.traffic.read()
            # By the clock a window ends also when nobody asks.
            if has_news or not watched.traffic.has_time:
                self._look(watched)
            self._try_out(watched)
            self._close_alerts(watched)
        self.retraining.tick()

    def _look(self, watched: Watched) -> None:
        """Bring the windows and alerts of a service up to date."""
        traffic, ledger = watched.traffic, self.store.ledger
        touched, traffic.touched = traffic.touched, set()
        champion = champion_of(ledger, watched.service.model.name)
        is_new_step = watched.looked_until is None or (
            traffic.step_of(watched.looked_until) != traffic.step_of(traffic.watermark)
        )
        if not touched and not is_new_step:
            return
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
            with ledger.transaction():
                ledger.write(*fresh)
                if champion is not None:
                    where = {"monitor": monitor.name, "version": champion.id, "is_closed": True}
                    since = traffic.watermark - 2 * monitor.length - monitor.settle * monitor.step
                    windows = ledger.find(Window, where | {"ends_at >=": since}, order="ends_at")
                    alerts.update(ledger, monitor, champion, windows)
        watched.looked_until = traffic.watermark

    def _try_out(self, watched: Watched) -> None:
        """Judge the challenger of a service, and promote it or take it back."""
        canary, ledger = watched.service.canary, self.store.ledger
        if canary is None:
            return
        for rollout in ledger.find(Rollout, {"service": watched.service.name, "state": "canary"}):
            verdict = trial.decide(ledger, rollout, canary, watched.traffic)
            if verdict.outcome:
                trial.end(ledger, rollout, verdict.outcome, verdict, watched.traffic)

    def _close_alerts(self, watched: Watched) -> None:
        """Close what is told of versions that no longer answer, however they were replaced."""
        champion = champion_of(self.store.ledger, watched.service.model.name)
        if champion is not None:
            for monitor in watched.monitors:
                alerts.close_others(self.store.ledger, monitor, champion.id)

    def _present(self, trigger: Trigger) -> Present:
        names = {watch.monitor.service.name for watch in trigger.watches}
        traffics = [each.traffic for each in self.watched if not names or each.service.name in names]
        moment = max((traffic.present for traffic in traffics), default=now())
        return Present(moment, any(traffic.has_time for traffic in traffics))

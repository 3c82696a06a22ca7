"""Retraining: when a trigger starts a run, with which settings, and how long it then rests."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.monitoring.supervisor import last_words
from drivetrain.monitoring.window import Alert
from drivetrain.pipeline.ending import end_with_parent
from drivetrain.pipeline.run import Run
from drivetrain.pipeline.runner import mark_interrupted
from drivetrain.registry.registry import champion_of
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import REFUSED_EXIT_CODE
from drivetrain.security.event import Event, record_event
from drivetrain.store.record import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from drivetrain.monitoring.trigger import Trigger
    from drivetrain.store.store import Store
    from drivetrain.system.settings import Project
    from drivetrain.system.system import System

LOG = logging.getLogger("drivetrain.monitoring")
# After a run whose model did not take over, a trigger rests this share of its cooldown, then twice as long each time.
RETRY_SHARE = 0.25
STOP_S = 10.0


class Present(msgspec.Struct, frozen=True):
    """The present of a trigger: a moment, and whether it is one of the data rather than of the clock."""

    moment: datetime
    is_of_data: bool


class Retraining:
    """Starts the runs that triggers ask for: one at a time, and none while a canary is undecided.

    What was started stands in the ledger before it begins. A run that ended with the process that had started it is
    taken up by the next one.
    """

    def __init__(
        self, project: Project, system: System, store: Store, *, present: Callable[[Trigger], Present]
    ) -> None:
        self._project, self._system, self._store, self._present = project, system, store, present
        self._triggers: list[Trigger] = system.of_role("trigger")
        self._log = store.root / "logs" / "run.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._started: Event | None = None
        self._began_at = now()

    def tick(self) -> None:
        """Start a run where a trigger asks for one."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            # A version that its gate refuses is an answer; only a run that did not come to an end is a failure.
            if code not in (0, REFUSED_EXIT_CODE):
                self._tell_failure(code)
            self._process = None
        ledger = self._store.ledger
        mark_interrupted(self._store.ledger)
        is_trying = bool(ledger.find(Rollout, {"state": "canary"}, limit=1))
        if is_trying or ledger.find(Run, {"state": "running"}, limit=1):
            return
        for trigger in self._triggers:
            last = self._last(trigger)
            if last is not None and self._was_cut_off(last):
                self._start(last)
                return
            reason = self._reason(trigger, last)
            if reason:
                self._start(self._record(trigger, reason))
                return

    def wait(self) -> None:
        """Wait until the run that is on its way has ended."""
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """End the run that is on its way; its finished steps are kept, and the next process takes it up."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last(self, trigger: Trigger) -> Event | None:
        where = {"kind": "run.triggered", "subject": trigger.name}
        found = self._store.ledger.find(Event, where, order="-number", limit=1)
        return found[0] if found else None

    def _reason(self, trigger: Trigger, last: Event | None) -> str:
        """Return why a trigger fires now, or nothing."""
        present = self._present(trigger)
        if last is not None:
            before = last.happened_at if present.is_of_data and last.happened_at else last.at
            if present.moment - before < trigger.rest * self._rest_share(trigger):
                return ""
        ledger = self._store.ledger
        for watch in trigger.watches:
            champion = champion_of(ledger, watch.monitor.service.model.name)
            if champion is None:
                continue
            where = {"monitor": watch.monitor.name, "rule": watch.rule, "version": champion.id, "cleared_at": None}
            for alert in ledger.find(Alert, where, limit=1):
                return f"{watch}: {alert.message}"
        for calendar in trigger.calendars:
            if calendar.next_after(last.at if last else self._base()) <= now():
                return f"the calendar {calendar}"
        return ""

    def _base(self) -> datetime:
        """Return from when on a calendar that never fired counts: the first run of the system."""
        first = self._store.ledger.find(Run, {"system": self._system.name}, order="started_at", limit=1)
        return first[0].started_at if first else self._began_at

    def _rest_share(self, trigger: Trigger) -> float:
        """Return how much of its cooldown a trigger rests: all of it once a version took over."""
        ledger = self._store.ledger
        promoted = ledger.find(Event, {"kind": "version.promoted"}, order="-number", limit=1)
        since = promoted[0].number if promoted else 0
        runs = ledger.find(Event, {"kind": "run.triggered", "subject": trigger.name, "number >": since})
        return min(1.0, RETRY_SHARE * 2.0 ** (len(runs) - 1)) if runs else 1.0

    def _was_cut_off(self, event: Event) -> bool:
        """Return whether a run did not end by itself: the process that had started it is gone, and the run with it."""
        ledger = self._store.ledger
        if self._started is not None and self._started.id == event.id:
            return False
        if ledger.find(Event, {"kind": "trigger.failed", "subject": event.subject, "number >": event.number}, limit=1):
            return False
        where = {"started_at >=": event.at, "reason": event.evidence["reason"]}
        runs = ledger.find(Run, where, order="-started_at", limit=1)
        return not runs or runs[0].state == "interrupted"

    def _record(self, trigger: Trigger, reason: str) -> Event:
        present = self._present(trigger)
        settings = trigger.resolved(present.moment)
        given = ", ".join(f"{name} = {_shown(value)}" for name, value in settings.items())
        return record_event(
            self._store.ledger,
            "run.triggered",
            subject=trigger.name,
            message=f"{trigger.name} starts a run{f' with {given}' if given else ''}: {reason}",
            actor=trigger.name,
            evidence={"reason": reason, "settings": settings},
            happened_at=present.moment if present.is_of_data else None,
        )

    def _start(self, event: Event) -> None:
        # As JSON, a text that looks like a number stays a text.
        settings = event.evidence["settings"].items()
        words = [f"--set={name}={msgspec.json.encode(value).decode()}" for name, value in settings]
        file = ["--file", str(self._system.module.__file__)] if self._system.module is not None else []
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "drivetrain", "run", f"--reason={event.evidence['reason']}", *file, *words],
                cwd=self._project.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),
            )
        self._started = event

    def _tell_failure(self, code: int) -> None:
        assert self._started is not None
        said = last_words(self._log)
        LOG.error("the run that %s started failed with exit code %d: %s", self._started.subject, code, said)
        record_event(
            self._store.ledger,
            "trigger.failed",
            subject=self._started.subject,
            message=f"the run that {self._started.subject} started failed: {said or f'exit code {code}'}",
            actor=self._started.subject,
            happened_at=self._started.happened_at,
        )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

"""Watch the services: signals, drift and quality; retrain, judge canaries, promote and roll back as declared."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_project
from drivetrain.cli.screen import ago
from drivetrain.monitoring.window import Alert

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="look once and end")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    from drivetrain.monitoring.controller import Controller

    opened = open_project(options)
    if options.profile:
        os.environ["DRIVETRAIN_PROFILE"] = options.profile  # for the runs that it starts
    controller = Controller(opened.project, opened.system, opened.store)
    if options.once:
        controller.tick()
        controller.retraining.wait()
        controller.tick()
        return {"looked": "once", "alerts": opened.store.ledger.find(Alert, {"cleared_at": None}, order="-raised_at")}
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    screen.note(f"watching {opened.system.name}; Ctrl-C ends it")
    controller.run_forever(stop)
    return {"looked": "until stopped"}


def show(result: Any, screen: Screen) -> None:
    if result["looked"] != "once":
        screen.line("ended")
        return
    for alert in result["alerts"]:
        screen.line(f"{ago(alert.raised_at)}: {alert.message}")
    if not result["alerts"]:
        screen.line("looked once: no alert is open")

"""Answer the jobs that a service has taken in, in processes that do nothing else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_project
from drivetrain.cli.service import chosen_service
from drivetrain.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", default="", help="which service; not needed where there is only one")
    parser.add_argument("--workers", type=int, default=1, help="how many processes answer")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    from drivetrain.serving.config import Config
    from drivetrain.serving.jobs.terms import callbacks_of
    from drivetrain.serving.jobs.worker import work
    from drivetrain.serving.server import check_callbacks

    if options.workers < 1:
        raise UsageError(f"--workers is {options.workers}", remedy="give a number from 1 on")
    opened = open_project(options)
    service = chosen_service(opened.system, options.service)
    project = opened.project
    callbacks = callbacks_of(project.get("serve.callback_hosts"), project.get("serve.callback_secret"))
    check_callbacks(callbacks)
    opened.store.close()
    screen.note(f"the jobs of {service.name} are answered; Ctrl-C ends it")
    if options.workers == 1:
        store, allow_pickle = str(project.store_path), opened.store.allow_pickle
        work(service.terms(), Config(store=store, allow_pickle=allow_pickle, callbacks=callbacks))
        return {"service": service.name}
    from drivetrain.monitoring.supervisor import Child, Supervisor

    command = [sys.executable, "-m", "drivetrain", "work", service.name, "--profile", options.profile]
    command += ["--file", options.file] if options.file else []
    children = [Child(f"work-{number}", command) for number in range(options.workers)]
    for change in Supervisor(children, logs=project.store_path / "logs", folder=project.root).run():
        screen.note(f"{change.name} {change.state} (process {change.pid}) {change.detail}".rstrip())
    return {"service": service.name}


def show(result: Any, screen: Screen) -> None:
    screen.line("ended")

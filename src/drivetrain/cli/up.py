"""Serve, watch and show, all at once: the server, the monitor and the console, each kept alive, until Ctrl-C."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, open_system
from drivetrain.cli.service import choosing, chosen_services
from drivetrain.errors import UsageError
from drivetrain.monitoring.supervisor import Child, Supervisor
from drivetrain.registry.registry import champion_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    choosing(parser)
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    from drivetrain.serving.front.directory import check_names
    from drivetrain.serving.server import addresses_in, check_address, check_grpc, check_port
    from drivetrain.ui.server import refuse_public

    project, system = open_system(options)
    chosen = chosen_services(system, options.services, is_all=options.all)
    answered = chosen if isinstance(chosen, list) else [chosen]
    store = kept_store(options)
    champions = {each.name: champion_of(store.ledger, each.model.name) for each in answered}
    store.close()
    # Refused here, and not by a child that is then started again and again.
    for each in answered:
        if champions[each.name] is None:
            raise UsageError(f"{each.model.name} has no champion yet", remedy="`drivetrain run` trains one")
    if isinstance(chosen, list):
        check_names([each.terms() for each in chosen])
    check_address(project.get("serve.host"), project.get("serve.token"))
    check_port(project.get("serve.host"), project.get("serve.port"), instead="serve.port in drivetrain.toml")
    grpc_port = project.get("serve.grpc_port")
    http_port = project.get("serve.port")
    addresses_in(project, [part.name for part in system.of_role("service")], port=http_port)
    check_grpc(project.get("serve.host"), grpc_port, http_port=http_port, instead="serve.grpc_port in drivetrain.toml")
    refuse_public(project.get("console.host"), project.get("console.token"))
    check_port(project.get("console.host"), project.get("console.port"), instead="console.port in drivetrain.toml")
    common = ["--profile", options.profile] + (["--file", options.file] if options.file else [])
    # Also one service stands below its name where all were asked for.
    named = ["--all"] if options.all else [each.name for each in answered]
    children = [
        Child("server", [sys.executable, "-m", "drivetrain", "serve", *named, *common]),
        Child("monitor", [sys.executable, "-m", "drivetrain", "monitor", *common]),
        Child("console", [sys.executable, "-m", "drivetrain", "ui", *common]),
    ]
    logs = project.store_path / "logs"
    url = f"http://{project.get('serve.host')}:{http_port}"
    for name, champion in champions.items():
        assert champion is not None
        screen.note(f"{name} answers with {champion.id} at {url}" + (f"/{name}" if isinstance(chosen, list) else ""))
        if grpc_port:
            screen.note(f"{name} answers gRPC at {project.get('serve.host')}:{grpc_port}")
    screen.note(f"the console is at http://{project.get('console.host')}:{project.get('console.port')}")
    screen.note(f"what each writes is in {logs}; Ctrl-C ends all three")
    for change in Supervisor(children, logs=logs, folder=project.root).run():
        screen.note(f"{change.name} {change.state}" + (f": {change.detail}" if change.detail else ""))


def show(result: Any, screen: Screen) -> None:
    screen.line("ended")

"""Answer requests with the champion of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_project
from drivetrain.cli.service import chosen_service
from drivetrain.registry.registry import champion_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "service", nargs="?", default="", help="which service; not needed where only one is called by no other"
    )
    parser.add_argument("--host", help="the address to listen on; a public one needs serve.token")
    parser.add_argument("--port", type=int, help="the port; 8000 by default")
    parser.add_argument("--grpc-port", type=int, help="a port on which gRPC is answered as well; none by default")
    parser.add_argument("--workers", type=int, help="how many processes answer")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    from drivetrain.serving.server import check_address, check_grpc, check_port, serve

    opened = open_project(options)
    service = chosen_service(opened.system, options.service)
    project = opened.project
    host = options.host or project.get("serve.host")
    port = options.port or project.get("serve.port")
    grpc_port = options.grpc_port or project.get("serve.grpc_port")
    workers = options.workers or project.get("serve.workers")
    check_address(host, project.get("serve.token"))
    check_port(host, port)
    check_grpc(host, grpc_port, http_port=port)
    if champion_of(opened.store.ledger, service.model.name) is None:
        screen.note(f"{service.model.name} has no champion yet: answers begin as soon as `drivetrain run` has made one")
    opened.store.close()
    screen.note(
        f"{service.name} answers at http://{host}:{port}  (its page: http://{host}:{port}/docs; Ctrl-C ends it)"
    )
    if grpc_port:
        screen.note(f"{service.name} answers gRPC at {host}:{grpc_port}")
    services = [part.name for part in opened.system.of_role("service")]
    for each in service.called():
        address = project.get("serve.addresses").get(each.name)
        screen.note(f"{service.name} calls {each.name}, " + (f"at {address}" if address else "which answers beside it"))
    serve(project, service, services=services, host=host, port=port, workers=workers, grpc_port=grpc_port)


def show(result: Any, screen: Screen) -> None:
    screen.line("ended")

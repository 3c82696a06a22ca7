"""Answer requests with the champion of a model, or of several, or say where the time of a request goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from drivetrain.cli.project import open_project
from drivetrain.cli.service import choosing, chosen_services
from drivetrain.errors import UsageError
from drivetrain.registry.registry import champion_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen
    from drivetrain.serving.calls.addresses import Addresses
    from drivetrain.serving.service import Service


def arguments(parser: ArgumentParser) -> None:
    choosing(parser)
    parser.add_argument("--host", help="the address to listen on; a public one needs serve.token")
    parser.add_argument("--port", type=int, help="the port; 8000 by default")
    parser.add_argument("--grpc-port", type=int, help="a port on which gRPC is answered as well; none by default")
    parser.add_argument("--workers", type=int, help="how many processes answer")
    parser.add_argument(
        "--explain-speed",
        action="store_true",
        help="measure for some seconds where the time of a request goes, on a server of its own, and end",
    )
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    return _explained(options, screen) if options.explain_speed else _served(options, screen)


def _served(options: Namespace, screen: Screen) -> NoReturn:
    from drivetrain.serving.server import addresses_in, serve

    opened = open_project(options)
    chosen = chosen_services(opened.system, options.services, is_all=options.all)
    answered = chosen if isinstance(chosen, list) else [chosen]
    project = opened.project
    host = options.host or project.get("serve.host")
    port = options.port or project.get("serve.port")
    grpc_port = options.grpc_port or project.get("serve.grpc_port")
    workers = options.workers or project.get("serve.workers")
    for service in answered:
        if champion_of(opened.store.ledger, service.model.name) is None:
            name = service.model.name
            screen.note(f"{name} has no champion yet: answers begin as soon as `drivetrain run` has made one")
    opened.store.close()
    services = [part.name for part in opened.system.of_role("service")]
    addresses = addresses_in(project, services, port=port)
    url = f"http://{host}:{port}"
    said = [f"{each.name} answers at {url}/{each.name}  (its page: {url}/{each.name}/docs)" for each in answered]
    if isinstance(chosen, list):
        said.append(f"{url} lists them; Ctrl-C ends it")
    else:
        said = [f"{chosen.name} answers at {url}  (its page: {url}/docs; Ctrl-C ends it)"]
    if grpc_port:
        names = " and ".join(each.name for each in answered)
        said.append(f"{names} answer{'' if len(answered) > 1 else 's'} gRPC at {host}:{grpc_port}")
    for service in answered:
        for each in service.called():
            said.append(f"{service.name} calls {each.name}, {_where(each, addresses)}")
    words = "" if screen.is_json else "\n".join(said)
    serve(
        project,
        tuple(each.terms() for each in chosen) if isinstance(chosen, list) else chosen.terms(),
        services=services,
        host=host,
        port=port,
        workers=workers,
        grpc_port=grpc_port,
        words=words,
    )


def _where(service: Service, addresses: Addresses) -> str:
    """Return where a called service answers, and what is amiss with it there."""
    url = addresses.urls.get(service.name)
    if url is None:
        return "which answers beside it"
    from drivetrain.serving.calls.httpx import amiss_at

    amiss = amiss_at(service.terms(), addresses)
    return f"at {url}" + (f", which is not ready: {amiss}" if amiss else "")


def _explained(options: Namespace, screen: Screen) -> Any:
    from drivetrain.load.speed.explanation import explain

    for name in ("host", "port", "grpc_port"):
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--explain-speed measures a server of its own, and {option} is another's", remedy=f"leave {option} out"
            )
    opened = open_project(options)
    service = chosen_services(opened.system, options.services, is_all=options.all)
    if isinstance(service, list):
        raise UsageError("--explain-speed measures one service at a time", remedy="name one")
    champion = champion_of(opened.store.ledger, service.model.name)
    if champion is None:
        raise UsageError(f"{service.model.name} has no champion yet", remedy="`drivetrain run` trains one")
    workers = options.workers or opened.project.get("serve.workers")
    with screen.busy("") as busy:
        found = explain(opened.store, champion, service.terms(), workers=workers, tell=busy.update)
    opened.store.close()
    return found


def show(result: Any, screen: Screen) -> None:
    from drivetrain.load.speed.picture import picture

    for line in picture(result):
        screen.line(line, style="yellow" if line.startswith("!") else "")
    screen.line()
    for conclusion in result.conclusions:
        screen.line(f"• {conclusion}", style="bold")

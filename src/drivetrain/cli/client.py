"""Write a typed Python client for a service, or its .proto file; --check says whether it is out of date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import msgspec

from drivetrain.cli.project import open_project
from drivetrain.cli.service import chosen_service
from drivetrain.errors import NotFound, UsageError
from drivetrain.registry.registry import champion_of
from drivetrain.serving.client import client, signature_in
from drivetrain.serving.contract import contract, without_comments
from drivetrain.serving.interface import Interface, interface_of
from drivetrain.serving.requests import reader_for
from drivetrain.system.settings import find_project

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen

_TIMEOUT_S = 10
# What helps, by the status that the server answers with.
_REMEDIES = {
    401: "set serve.token (DRIVETRAIN_SERVE_TOKEN in the environment)",
    404: "name the service's own address; of a server that answers for several it is http://HOST:PORT/SERVICE",
}


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A client: the file, what it is for, and whether it is as the service asks for it now."""

    path: str
    service: str
    signature: str
    is_current: bool
    was_checked: bool


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", default="", help="which service; not needed where there is only one")
    parser.add_argument("--output", help="the file to write; client.py by default, or service.proto")
    parser.add_argument("--url", help="ask a running server instead of the store; serve.token is sent to it")
    parser.add_argument("--proto", action="store_true", help="write the typed gRPC service instead")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the file is out of date")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    interface, text = _asked(options) if options.url else _kept(options)
    path = Path(options.output or ("service.proto" if options.proto else "client.py"))
    if options.check:
        is_current = path.is_file() and _same(path.read_text("utf-8"), text, is_proto=options.proto)
    else:
        is_current = True
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return Written(
        path=str(path),
        service=interface.service,
        signature=interface.signature,
        is_current=is_current,
        was_checked=options.check,
    )


def _kept(options: Namespace) -> tuple[Interface, str]:
    """Return the interface of the champion in the store, and the text for it."""
    opened = open_project(options)
    service = chosen_service(opened.system, options.service)
    champion = champion_of(opened.store.ledger, service.model.name)
    opened.store.close()
    if champion is None:
        raise UsageError(f"{service.model.name} has no champion yet", remedy="`drivetrain run` trains one")
    interface = interface_of(service.name, champion.signature, max_rows=service.max_rows)
    if options.proto:
        return interface, contract(service.name, champion.signature, reader_for(champion.signature))
    return interface, client(interface)


def _asked(options: Namespace) -> tuple[Interface, str]:
    """Return the interface of a running server, and the text for it."""
    base = options.url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise UsageError(f"{options.url!r} is no address", remedy="write for example --url http://127.0.0.1:8000")
    token = find_project(profile=options.profile).get("serve.token")
    told = msgspec.json.decode(_fetched(f"{base}/openapi.json", token))
    if "x-drivetrain" not in told:
        raise UsageError(f"{base} is no service of Drivetrain", remedy="name the address that `drivetrain serve` shows")
    interface = msgspec.convert(told["x-drivetrain"], Interface)
    if options.service and options.service != interface.service:
        raise NotFound(kind="service", name=options.service, known=[interface.service])
    if options.proto:
        return interface, _fetched(f"{base}/service.proto", token).decode()
    return interface, client(interface)


def _fetched(url: str, token: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:  # noqa: S310  # http alone, see above
            found: bytes = answer.read()
            return found
    except HTTPError as error:
        with error:
            told = error.read()[:200].decode(errors="replace")
        raise UsageError(
            f"{url} answers with {error.code}: {told}",
            remedy=_REMEDIES.get(error.code, "see `drivetrain models`: is there a champion?"),
        ) from error
    except (URLError, OSError) as error:
        raise UsageError(f"{url} cannot be reached: {error}", remedy="start `drivetrain serve` first") from error


def _same(found: str, right: str, *, is_proto: bool) -> bool:
    """Return whether a file serves the signature; examples and figures in comments may differ."""
    if is_proto:
        return without_comments(found) == without_comments(right)
    return signature_in(found) == signature_in(right)


def show(result: Any, screen: Screen) -> None:
    if not result.was_checked:
        screen.line(f"{result.path} is written for {result.service}, signature {result.signature}")
    elif result.is_current:
        screen.line(f"{result.path} fits {result.service}, signature {result.signature}")
    else:
        state = "is out of date" if Path(result.path).exists() else "is not there"
        screen.line(f"{result.path} {state}: {result.service} asks for signature {result.signature}")
        screen.line("  → write it anew: the same command without --check")


def exit_code(result: Any) -> int:
    return 0 if result.is_current else 1

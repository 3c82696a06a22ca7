"""The server: worker processes that answer for a service, or for several, on one address."""

from __future__ import annotations

import os
import socket
import sys
from functools import partial
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any

from drivetrain.errors import Refused, UsageError
from drivetrain.pipeline.ending import end_with_parent
from drivetrain.serving.app import App
from drivetrain.serving.calls.addresses import Addresses, addresses_of
from drivetrain.serving.config import Config, is_loopback
from drivetrain.serving.front.directory import check_names
from drivetrain.serving.grpc import check_installed
from drivetrain.serving.jobs.terms import Callbacks, callbacks_of
from drivetrain.serving.launch import Launch, become
from drivetrain.serving.service import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import NoReturn

    from drivetrain.system.settings import Project

# A worker is the unit of parallelism. Threads of a library's own wait for each other in a busy loop on a machine that
# is shared: one row of boosted trees then took 476 ms instead of 1. What the environment sets already stays.
WORKER_THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}
# How long the workers have for what they are answering when the server is told to stop.
DRAIN_S = 10


def serve(
    project: Project,
    service: Terms | tuple[Terms, ...],
    *,
    services: Collection[str],
    host: str,
    port: int,
    workers: int,
    grpc_port: int,
    words: str = "",
) -> NoReturn:
    """Turn this process into one that answers requests to a service, or to several below their names; see `run`.

    `services` names all that the system has: one that is called is loaded beside the other, or asked at the address
    that `serve.addresses` has for it. `words` are said when it answers.

    Raises:
        Refused: the address is public, and there is no token.
        UsageError: a port is taken, or a name cannot stand in an address.
        MissingExtra: there is a port for gRPC, and no library for it.
    """
    token = project.get("serve.token")
    if not isinstance(service, Terms):
        check_names(service)
    check_address(host, token)
    check_port(host, port)
    check_grpc(host, grpc_port, http_port=port)
    addresses = addresses_in(project, services, port=port)
    callbacks = callbacks_of(project.get("serve.callback_hosts"), project.get("serve.callback_secret"))
    check_callbacks(callbacks)
    config = Config(
        store=str(project.store_path),
        allow_pickle=bool(project.get("store.allow_pickle")),
        host=host,
        port=port,
        grpc_port=grpc_port,
        workers=workers,
        token=token,
        callbacks=callbacks,
        addresses=addresses,
    )
    become(Launch(service=service, config=config, words=words))


def check_address(host: str, token: str) -> None:
    """Refuse to listen where others can reach the server, unless they need a token."""
    if not is_loopback(host) and not token:
        raise Refused(
            f"{host} can be reached from other machines, and no token is set",
            remedy="set serve.token (DRIVETRAIN_SERVE_TOKEN in the environment), or listen on 127.0.0.1",
        )


def addresses_in(project: Project, services: Collection[str], *, port: int) -> Addresses:
    """Return where called services answer; see `addresses_of`."""
    urls, tokens = project.get("serve.addresses"), project.get("serve.address_tokens")
    return addresses_of(urls, tokens, known=services, port=port)


def check_callbacks(callbacks: Callbacks) -> None:
    """Refuse to call back without a secret: nobody could tell our word from another's."""
    if callbacks.hosts and not callbacks.secret:
        raise Refused(
            "serve.callback_hosts allows callbacks, and nothing signs them",
            remedy="set serve.callback_secret (DRIVETRAIN_SERVE_CALLBACK_SECRET in the environment)",
        )


def check_port(host: str, port: int, *, instead: str = "--port") -> None:
    """Raise a UsageError where another program listens on the port: two servers would share it unnoticed.

    `instead` says where another port is given.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise UsageError(
                f"the port {port} of {host} cannot be used: {error.strerror}",
                remedy=f"stop the other program, or choose another port with {instead}",
            ) from error


def check_grpc(host: str, port: int, *, http_port: int, instead: str = "--grpc-port") -> None:
    """Raise an error where gRPC is asked for and cannot be answered beside HTTP; a port of 0 asks for none.

    Raises:
        MissingExtra: its library is not installed.
        UsageError: the port is taken, or is that of HTTP.
    """
    if port:
        check_installed()
        if port == http_port:
            raise UsageError(
                f"gRPC cannot have the port {port}: HTTP has it", remedy=f"choose another port with {instead}"
            )
        check_port(host, port, instead=instead)


def _load(
    target: str, parent: int, make: Callable[..., App], service: Terms | tuple[Terms, ...], config: Config
) -> Any:
    if (ends_with := end_with_parent(parent=parent)) is not None:
        ends_with()
    if isinstance(service, Terms):
        return make(service, config)
    from drivetrain.serving.front.front import Front

    return Front(service, config)


def run(launch: Launch, make: Callable[..., App] = App) -> None:
    """Answer requests from this process and its workers until SIGTERM or SIGINT, then finish what has been begun.

    A worker that dies is replaced, and the others answer on. With a `grpc_port` the same workers answer gRPC there.
    `make` makes the application of a single service in each worker, to which it travels.
    """
    import multiprocessing

    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings

    from drivetrain.serving.supervision import Supervised

    try:
        import uvloop  # noqa: F401  # granian takes it by itself; here only whether it is there

        loop = Loops.uvloop
    except ImportError:
        loop = Loops.asyncio
    for name, threads in WORKER_THREADS.items():
        os.environ.setdefault(name, threads)
    # A worker begins as a clean process: one forked off would inherit polars' threads in the middle of their work.
    multiprocessing.set_start_method("spawn", force=True)
    config = launch.config
    server = Supervised(
        launch.name,
        address=config.host.strip("[]"),
        port=config.port,
        interface=Interfaces.RSGI,
        workers=config.workers,
        loop=loop,
        http=HTTPModes.auto,
        websockets=True,
        http1_settings=HTTP1Settings(header_read_timeout=10_000, pipeline_flush=True),
        log_enabled=False,
        respawn_failed_workers=True,
        workers_kill_timeout=DRAIN_S,
    )
    if launch.words:
        Thread(target=_say_when_it_answers, args=(launch,), daemon=True).start()
    load = partial(_load, parent=os.getpid(), make=make, service=launch.service, config=config)
    server.serve(target_loader=load)


def _say_when_it_answers(launch: Launch) -> None:
    """Say the words of a server on standard error as soon as whoever reads them may ask it."""
    while True:
        try:
            with socket.create_connection((launch.config.host.strip("[]"), launch.config.port)) as asking:
                asking.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if asking.recv(1):
                    sys.stderr.write(f"{launch.words}\n")
                    return
        except OSError:
            pass
        sleep(0.02)

"""Starting the console: one process, this one, and no log of who looked."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING

import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server

from drivetrain.errors import Refused
from drivetrain.store.store import Store
from drivetrain.ui.app import console
from drivetrain.ui.guard import LOOPBACK

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from drivetrain.system.settings import Project
    from drivetrain.system.system import System


def serve_console(project: Project, system: System, host: str = "", port: int = 0) -> None:
    """Answer until interrupted, on the project's `console.host` and `console.port` unless others are given.

    Raises:
        Refused: the address is public and the project has no `console.token`, or something listens there already.
    """
    host, port = host or str(project.get("console.host")), port or int(project.get("console.port"))
    refuse_public(host, str(project.get("console.token")))
    project = msgspec.structs.replace(project, values=project.values | {"console.host": host})
    store = Store.open(project.store_path)
    try:
        asyncio.run(_answer(console(store, system, project), host, port))
    finally:
        store.close()


def refuse_public(host: str, token: str) -> None:
    """Raise where a console would be open to others without a token.

    >>> refuse_public("127.0.0.1", "")
    """
    if host not in LOOPBACK and not token:
        raise Refused(
            f"the console would be open to everyone who reaches {host}",
            remedy="set console.token in drivetrain.toml or DRIVETRAIN_CONSOLE_TOKEN, or listen on 127.0.0.1",
        )


async def _answer(app: Starlette, host: str, port: int) -> None:
    server = Server(
        app, address=host, port=port, interface=Interfaces.ASGINL, log_enabled=False, log_access=False, websockets=False
    )
    # Signals reach the main thread alone; elsewhere the server ends with its process.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
    try:
        await server.serve()
    except OSError as error:
        raise Refused(
            f"the console cannot listen on {host}:{port}: {error.strerror or error}",
            remedy="another one may be running there; give it another port with console.port or --port",
        ) from error

"""Starting the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import Refused
from drivetrain.store.store import Store
from drivetrain.ui.guard import LOOPBACK

if TYPE_CHECKING:
    from drivetrain.system.settings import Project
    from drivetrain.system.system import System


def serve_console(project: Project, system: System, host: str = "", port: int = 0) -> None:
    """Answer until interrupted, on the project's `console.host` and `console.port` unless others are given.

    Raises:
        Refused: the address is public and the project has no `console.token`.
    """
    from granian.constants import Interfaces, Loops
    from granian.server.embed import Server

    host, port = host or str(project.get("console.host")), port or int(project.get("console.port"))
    refuse_public(host, str(project.get("console.token")))
    project = msgspec.structs.replace(project, values=project.values | {"console.host": host})
    store = Store.open(project.store_path, allow_pickle=False)
    from drivetrain.ui.app import console

    server = Server(
        console(store, system, project), address=host, port=port, interface=Interfaces.ASGINL, log_access=False, log_enabled=False
    )
    try:
        _run(server, Loops.auto)
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

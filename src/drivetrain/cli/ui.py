"""Open the console: the loop, the system, runs, models, live signals, and any prediction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_project

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--host", help="the address to listen on; a public one needs console.token")
    parser.add_argument("--port", type=int, help="the port; 4200 by default")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    from drivetrain.serving.server import check_port
    from drivetrain.ui.server import refuse_public, serve_console

    opened = open_project(options)
    host = options.host or opened.project.get("console.host")
    port = options.port or opened.project.get("console.port")
    refuse_public(host, opened.project.get("console.token"))
    check_port(host, port)
    screen.note(f"the console is at http://{host}:{port}  (Ctrl-C ends it)")
    serve_console(opened.project, opened.system, host=host, port=port)
    screen.note("ended")
    # The server's threads may still call into Python while that takes itself apart, and then abort the process.
    os._exit(0)


def show(result: Any, screen: Screen) -> None: ...

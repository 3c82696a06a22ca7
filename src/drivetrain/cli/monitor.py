"""Watch a service: signals, drift and quality; retrain, judge canaries, promote and roll back as declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_project

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="look once and end")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")

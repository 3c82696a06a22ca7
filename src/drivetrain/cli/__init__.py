"""The commands."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NamedTuple


class Command(NamedTuple):
    """One command: its help, and the module in this folder that carries it out."""

    help: str
    group: str


COMMANDS = {
    "init": Command("write a first system into a folder", "build"),
    "run": Command("run the system; only what changed runs again", "build"),
    "why": Command("say why a step runs or not, or what stands behind a prediction or version", "build"),
    "show": Command("draw the system, or show a run", "build"),
    "logs": Command("show what a step printed, also while it runs", "build"),
    "runs": Command("list the runs, or those for which a filter holds", "build"),
    "compare": Command("show runs side by side", "build"),
    "tag": Command("tag a run", "build"),
    "note": Command("write a note on a run", "build"),
    "models": Command("list model versions, their figures and decisions", "release"),
    "promote": Command("make a version the champion", "release"),
    "rollback": Command("make the champion before the present one champion again", "release"),
    "approve": Command("say yes to what a run asks, or list what is asked", "release"),
    "refuse": Command("say no to what a run asks", "release"),
    "predict": Command("answer the rows of files, buckets or tables with a version", "release"),
    "client": Command("write a typed Python client of a service", "release"),
    "serve": Command("answer requests", "operate"),
    "work": Command("answer a service's jobs in processes of their own", "operate"),
    "jobs": Command("list the jobs of a service, cancel them or try them again", "operate"),
    "consume": Command("answer the messages of a stream into another one", "operate"),
    "load": Command("put a version or a server under load, and see how fast it answers", "operate"),
    "monitor": Command("watch a service and act on what is seen", "operate"),
    "ui": Command("open the console", "operate"),
    "up": Command("serve, watch and show, all at once", "operate"),
    "store": Command("check the store, free space, keep, delete and move runs, make backups", "operate"),
    "doctor": Command("check the machine, the project and the store", "operate"),
}


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command line and return its exit code.

    0 is done, 1 it failed, 2 it was asked wrongly, 3 the run finished and a gate refused, 130 Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else arguments
    shell = import_module("drivetrain.cli.shell")
    code: int = shell.carry_out(given, COMMANDS, is_process=arguments is None)
    return code

"""What a server is started with, and the process that becomes it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

from drivetrain.serving.config import Config
from drivetrain.serving.service import Terms

if TYPE_CHECKING:
    from typing import IO, NoReturn


# What runs a server as a process, with the service's name and the handle of what it is started with.
SERVER = "drivetrain.serving"


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A server to be: which service it answers for, and how it is configured.

    One `service` is answered at the root, and several are each answered below their names. `words` are what it says
    when it answers.
    """

    service: Terms | tuple[Terms, ...]
    config: Config
    words: str = ""

    @property
    def name(self) -> str:
        """What it answers for, in a word that a list of processes shows."""
        services = (self.service,) if isinstance(self.service, Terms) else self.service
        return ",".join(each.name for each in services)


def become(launch: Launch) -> NoReturn:
    """Turn this process into the server.

    A process that has read a declaration has loaded what trains the models, some hundred megabytes that only answering
    does not need. It keeps its number, and what it is told by signals; a token is handed over where nobody else can
    read it.
    """
    given, taken = os.pipe()
    os.set_inheritable(given, True)
    with open(taken, "wb") as pipe:
        pipe.write(msgspec.json.encode(launch))
    sys.stdout.flush()
    sys.stderr.flush()
    command = _command(launch, given)
    os.execv(command[0], command)  # noqa: S606  # a command of our own


def started(launch: Launch, output: IO[bytes], module: str = SERVER, *told: str) -> subprocess.Popen[bytes]:
    """Start the server as a process of its own, which writes what it says to `output`.

    `module` runs it, and is `told` something more.
    """
    command = _command(launch, 0, module, *told)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(msgspec.json.encode(launch))
    return process


def _command(launch: Launch, handle: int, module: str = SERVER, *told: str) -> list[str]:
    # Safe from modules of the user's folder that are called as ones of the standard library.
    return [sys.executable, "-P", "-m", module, launch.name, str(handle), *told]


def handed_over(handle: int) -> Launch:
    """Return what whoever has started this process has handed over: by a pipe of its own, or by standard input, 0."""
    with open(handle, "rb", closefd=handle != 0) as pipe:
        return msgspec.json.decode(pipe.read(), type=Launch)

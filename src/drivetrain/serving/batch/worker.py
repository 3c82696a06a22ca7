"""A process that carries out parts for its parent, until that is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from drivetrain.errors import DrivetrainError
from drivetrain.serving.batch.carry_out import Hand

if TYPE_CHECKING:
    from drivetrain.serving.batch.plan import Part


def main(descriptor: int) -> None:
    """Answer each part that comes with what became of it: a `Done`, or an error; numbers before it are rows read."""
    # Ctrl-C is the parent's to take, and its end is ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent: Connection[Any, Any] = Connection(descriptor)
    order = parent.recv()
    parts: SimpleQueue[Part] = SimpleQueue()

    def listen() -> None:
        while True:
            try:
                parts.put(parent.recv())
            except (EOFError, OSError):
                os._exit(0)

    threading.Thread(target=listen, name="drivetrain-parts", daemon=True).start()
    try:
        hand = Hand(order)
    except DrivetrainError as error:
        parts.get()
        parent.send(error)
        return
    while True:
        part = parts.get()
        try:
            parent.send(hand.carry_out(part, parent.send))
        except DrivetrainError as error:
            parent.send(error)


if __name__ == "__main__":
    main(int(sys.argv[1]))

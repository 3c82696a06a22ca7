"""The process of a step that runs by itself: it loads the user's file once, and carries out one order after another."""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

import msgspec

from drivetrain.pipeline.handover import Handover
from drivetrain.pipeline.surroundings import Surroundings
from drivetrain.pipeline.task import Order, Task, carry_out
from drivetrain.store.store import Store
from drivetrain.system.load import load_system

# Printed after each order, so that the parent knows where the words of one step end.
END = b"\x1eend of step\x1e\n"
DUMP_SIGNAL = signal.SIGUSR1
READY = "ready"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a worker works: the system's file, the project, the store and the run's handover."""

    file: Path
    name: str
    root: Path
    store: Path
    allow_pickle: bool
    handover: Path
    # Where `faulthandler` writes: at a crash, and when the parent asks where the step is.
    dump: Path
    path: list[str]


def main(descriptor: int) -> None:
    """Work for the parent at the other end of a connection, until it is gone."""
    parent: Connection[Any, Any] = Connection(descriptor)
    place: Place = parent.recv()
    with open(place.dump, "w", encoding="utf-8") as dump:
        faulthandler.enable(dump, all_threads=False)
        faulthandler.register(DUMP_SIGNAL, dump, all_threads=False)
        os.chdir(place.root)
        sys.path[:] = place.path
        orders: SimpleQueue[Order] = SimpleQueue()
        _take_orders(parent, orders)
        store = Store.open(place.store, allow_pickle=place.allow_pickle)
        system = load_system(place.file, name=place.name)
        handover = Handover(place.handover)
        surroundings, words = Surroundings(), os.dup(1)
        # Ctrl-C is the parent's to take.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # A step's time counts from here, not from the start of the process.
        parent.send(READY)
        while True:
            order = orders.get()
            task = Task(
                order,
                store=store,
                system=system,
                root=place.root,
                handover=handover,
            )
            sys.stdout, sys.stderr = _stream(1), _stream(2)
            outcome = carry_out(order, task, handover=handover, surroundings=surroundings)
            outcome.values = {}
            os.write(words, END)
            parent.send(outcome)


def _stream(descriptor: int) -> TextIO:
    """Return a standard stream for one step, which may do with it what it likes: nothing waits in it."""
    binary = io.FileIO(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(binary, encoding="utf-8", errors="replace", write_through=True)


def _take_orders(parent: Connection[Any, Any], orders: SimpleQueue[Order]) -> None:
    """Take orders in a thread of its own: when the parent is gone, so is this process, whatever the step is doing."""

    def listen() -> None:
        while True:
            try:
                orders.put(parent.recv())
            except (EOFError, OSError):
                os._exit(0)

    threading.Thread(target=listen, name="drivetrain-orders", daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))

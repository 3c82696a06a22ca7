"""Consumes a stream for the tests: STORE FROM TO DEAD."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from drivetrain.serving.service import Terms
from drivetrain.serving.streams.address import address
from drivetrain.serving.streams.consumer import Consumer
from drivetrain.store.store import Store

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    store, *streams = sys.argv[1:]
    source, sink, dead = map(address, streams)
    consumer = Consumer(
        Store.open(Path(store)), Terms(name="answers", model="late"), source, sink, dead, group="answers", batch=64
    )
    signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
    consumer.run()

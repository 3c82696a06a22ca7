"""A consumer: it takes what waits in a stream, answers it, hands the answers on, and only then settles it."""

from __future__ import annotations

import logging
import os
import threading
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import StoreError
from drivetrain.serving.journal import folder_of
from drivetrain.serving.live import load, reason_of, wanted
from drivetrain.serving.streams.address import sink_at, source_at
from drivetrain.serving.streams.answering import Answering
from drivetrain.serving.streams.state import StreamState
from drivetrain.store.hold import first_free
from drivetrain.store.record import now

if TYPE_CHECKING:
    from drivetrain.serving.live import Live
    from drivetrain.serving.service import Terms
    from drivetrain.serving.streams.address import Address
    from drivetrain.serving.streams.message import Sink, Source
    from drivetrain.store.store import Store

LOG = logging.getLogger("drivetrain.serving")

WAIT_S = 0.5
FOLLOW_S = 0.25
TELL_S = 2.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


class Consumer:
    """Answers the messages of a stream until it is told to stop; then what it has begun is finished first.

    No more than a batch is ever in hand. It bears a name that the next consumer takes over when it ends, however it
    ends, and with it what it has not settled.
    """

    def __init__(
        self, store: Store, service: Terms, source: Address, sink: Address, dead: Address, *, group: str, batch: int
    ) -> None:
        self._store, self._service, self._group, self._batch = store, service, group, batch
        self._source, self._sink, self._dead = source, sink, dead
        self._stopped = threading.Event()
        number, self._place = first_free(folder_of(store, service.name), f"consumer-{group}-{{}}.lock")
        self.name = f"{os.uname().nodename}-{number}"
        self._answering = Answering(store, service.name, source.name, max_batch=service.max_batch)
        self._live: Live | None = None
        self._generation, self._follow_at, self._tell_at = -1, 0.0, 0.0
        known = store.ledger.get(StreamState, service.name, source.name, self.name)
        self._state = known or StreamState(service=service.name, stream=source.name, consumer=self.name, at=now())
        self._problem = self._standstill = ""

    def stop(self) -> None:
        """Let `run` end after the batch that is in hand."""
        self._stopped.set()

    def run(self) -> None:
        """Answer until stopped; a broker that is away is tried again, after pauses that grow."""
        pause_s = FIRST_PAUSE_S
        try:
            while not self._stopped.is_set():
                before = self._state.answered + self._state.dead
                try:
                    self._connected()
                except (ConnectionError, StoreError, OSError) as error:
                    if self._state.answered + self._state.dead > before:
                        pause_s = FIRST_PAUSE_S
                    # Told once, and not at each try: a broker may be away for a night.
                    if str(error) != self._standstill:
                        LOG.warning("the stream is at a standstill, and tried again until it goes on: %s", error)
                    self._standstill = str(error)
                    self._stopped.wait(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            self._answering.close()
            os.close(self._place)

    def _connected(self) -> None:
        opened: list[Source | Sink] = []
        try:
            source = source_at(self._source, group=self._group, consumer=self.name, batch=self._batch)
            opened.append(source)
            sink = sink_at(self._sink)
            opened.append(sink)
            dead = sink_at(self._dead)
            opened.append(dead)
            self._answering.connected()
            while not self._stopped.is_set():
                live = self._followed()
                if live is None:
                    self._stopped.wait(FOLLOW_S)
                    continue
                self._once(live, source, sink, dead)
                if self._standstill:
                    LOG.warning("the stream goes on")
                    self._standstill = ""
        finally:
            for each in opened:
                try:
                    each.close()
                except ConnectionError as error:
                    LOG.info("a connection did not end well: %s", error)

    def _once(self, live: Live, source: Source, sink: Sink, dead: Sink) -> None:
        messages = source.fetch(self._batch, WAIT_S)
        if messages:
            outputs, aside = self._answering.answer(live, messages)
            if outputs:
                sink.write(outputs)
            if aside:
                dead.write([each.output for each in aside])
                for each in aside:
                    LOG.warning("the message %s is put aside: %s", each.message, each.reason)
            source.settle(messages)
            self._state = msgspec.structs.replace(
                self._state,
                answered=self._state.answered + len(outputs),
                dead=self._state.dead + len(aside),
                again=self._state.again + sum(message.is_again for message in messages),
            )
        if monotonic() >= self._tell_at:
            self._tell_at = monotonic() + TELL_S
            self._state = msgspec.structs.replace(self._state, lag=source.lag(), at=now())
            with self._store.ledger.transaction(is_durable=False):
                self._store.ledger.write(self._state)

    def _followed(self) -> Live | None:
        """Return the versions that answer now; those before go on where the new ones cannot be loaded."""
        if monotonic() < self._follow_at:
            return self._live
        self._follow_at = monotonic() + FOLLOW_S
        ledger = self._store.ledger
        generation = ledger.generation()
        if generation == self._generation:
            return self._live
        self._generation = generation
        want = wanted(ledger, self._service.name, self._service.model)
        if self._live is not None and want.key == self._live.want.key:
            return self._live
        problem = ""
        try:
            self._live, problem = load(self._store, want, self._live)
        except Exception as error:  # the version's code is the user's, and may raise anything
            problem = f"the champion of {self._service.model} cannot be loaded: {reason_of(error)}"
        if problem and problem != self._problem:
            LOG.error("%s", problem)
        self._problem = problem
        return self._live

"""Keeps a worker in step with the registry: what should answer is loaded beside what does, then takes its place."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from drivetrain.errors import DrivetrainError, StoreError
from drivetrain.security.event import record_event
from drivetrain.serving.live import Live, load, reason_of, wanted

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from drivetrain.serving.counters import Counters
    from drivetrain.serving.service import Terms
    from drivetrain.store.store import Store

LOG = logging.getLogger("drivetrain.serving")
EVERY_S = 0.25
# A version that could not be loaded is tried again after this, in case the reason has gone.
RETRY_S = 10.0


class Watcher:
    """Looks at the ledger four times a second, in a thread of its own.

    `live` is what answers; it is replaced as a whole, so a request sees either the old or the new. `problem` tells why
    something that should answer does not; what answered before goes on.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        service: Terms,
        counters: Counters,
        tend: Callable[[], None],
    ) -> None:
        self.live: Live | None = None
        self.problem = ""
        self._loop, self._store, self._service, self._counters, self._tend = loop, store, service, counters, tend
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._generation = -1
        self._key: tuple[Any, ...] | None = None
        self._told: set[str] = set()
        self._rounds_to_retry = 0

    def start(self) -> None:
        """Load what should answer now, then watch."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and wait for what is being loaded."""
        self._stopped.set()
        self._thread.join(timeout=10)

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY_S):
            self._counters.beat()
            try:
                self._loop.call_soon_threadsafe(self._tend)
            except RuntimeError:  # the loop has been closed
                return
            self._look()

    def _look(self) -> None:
        try:
            generation = self._store.ledger.generation()
            if self._rounds_to_retry:
                self._rounds_to_retry -= 1
            if generation == self._generation and self._rounds_to_retry != 1:
                return
            want = wanted(self._store.ledger, self._service.name, self._service.model)
            self._generation = generation
        except Exception as error:  # the watch goes on, whatever stands in the ledger
            if self.problem != reason_of(error):
                self.problem = reason_of(error)
                LOG.error("the ledger cannot be followed: %s", self.problem)
            return
        if want.key == self._key and self._rounds_to_retry != 1:
            return
        self._key = want.key
        self._rounds_to_retry = 0
        try:
            live, self.problem = load(self._store, want, self.live)
        except Exception as error:  # the version's code is the user's, and may raise anything
            assert want.champion is not None
            self.problem = f"{want.champion.id} cannot be loaded: {reason_of(error)}"
            LOG.error("%s", self.problem, exc_info=None if isinstance(error, DrivetrainError) else error)
            live = self.live
        if self.problem:
            self._rounds_to_retry = int(RETRY_S / EVERY_S)
            self._counters.add("swap_failures")
            self._tell()
        if live is not self.live:
            self.live = live
            self._counters.add("swaps")
        self._counters.set("ready", int(self.live is not None))

    def _tell(self) -> None:
        """Record once that a version cannot be loaded."""
        if self.problem in self._told:
            return
        self._told.add(self.problem)
        try:
            record_event(
                self._store.ledger,
                "service.load_failed",
                subject=self._service.name,
                message=f"{self.problem}; {'the versions before go on' if self.live else 'nothing answers'}",
            )
            self._generation = self._store.ledger.generation()
        except StoreError as error:
            LOG.error("an event cannot be recorded: %s", error)

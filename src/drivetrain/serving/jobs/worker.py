"""Workers of jobs: a thread in each process of the server, or a process that does nothing else."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import StoreError
from drivetrain.serving.jobs.callback import tell_one
from drivetrain.serving.jobs.queue import Queue
from drivetrain.serving.jobs.status import status_of
from drivetrain.serving.jobs.work import Work
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivetrain.serving.config import Config
    from drivetrain.serving.jobs.job import Job
    from drivetrain.serving.service import Terms

LOG = logging.getLogger("drivetrain.serving")

# How often the ledger is looked at for news; and, without any, for jobs whose worker is gone.
LOOK_S = 0.1
ORPHANS_S = 2.0
# How long a thread waits when the ledger cannot be used.
PAUSE_S = 1.0


class JobWorker:
    """Answers the jobs of a service in a thread of its own, and tells clients in another, until it is stopped.

    It works for up to `share` of the time, and holds still while `is_busy` says that something more urgent is at hand.
    """

    def __init__(
        self, service: Terms, config: Config, *, share: float, is_busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._service, self._config = service, config
        self._share, self._is_busy = share, is_busy
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._tell, name="job-callbacks", daemon=True)]
        if share > 0:
            self._threads.append(threading.Thread(target=self._work, name="jobs", daemon=True))

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop after the piece that is being answered; the rest of its job is left to another worker."""
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)

    def wait(self) -> None:
        """Return when it has been stopped."""
        while not self._stopped.wait(1.0):
            pass

    def ask_to_stop(self) -> None:
        """Let it stop by itself; `stop` waits for that."""
        self._stopped.set()

    def rest(self, taken_s: float) -> bool:
        """Pause after so many seconds of work, and return whether to go on."""
        if self._share < 1 and self._stopped.wait(taken_s * (1 - self._share) / self._share):
            return False
        while self._is_busy():
            if self._stopped.wait(0.002):
                return False
        return not self._stopped.is_set()

    def _work(self) -> None:
        # Of its own: waiting for the disk must not hold up those that answer.
        store = Store.open(Path(self._config.store), allow_pickle=self._config.allow_pickle)
        queue = Queue(store, self._service.name, self._service.jobs)
        work = Work(queue, max_batch=self._service.max_batch, rest=self.rest)
        generation, quiet_s = -1, ORPHANS_S
        try:
            while not self._stopped.is_set():
                try:
                    found = queue.generation()
                    if (found != generation or quiet_s >= ORPHANS_S) and work.once():
                        continue
                    quiet_s = 0.0 if quiet_s >= ORPHANS_S or found != generation else quiet_s + LOOK_S
                    generation = found
                    self._stopped.wait(LOOK_S)
                except Exception as error:  # the ledger is full or away; whatever it is, the next look may go well
                    self._complain(error)
        finally:
            self._close(store, queue)

    def _tell(self) -> None:
        store = Store.open(Path(self._config.store))
        queue = Queue(store, self._service.name, self._service.jobs)
        try:
            while not self._stopped.wait(LOOK_S):
                try:
                    while tell_one(queue, self._config.callbacks, _told) and not self._stopped.is_set():
                        pass
                except Exception as error:
                    self._complain(error)
        finally:
            store.close()

    def _complain(self, error: Exception) -> None:
        LOG.error("jobs are at a standstill: %s", error, exc_info=None if isinstance(error, StoreError) else error)
        self._stopped.wait(PAUSE_S)

    def _close(self, store: Store, queue: Queue) -> None:
        try:
            queue.leave()
        except StoreError as error:
            LOG.error("%s", error)
        store.close()


def _told(job: Job) -> dict[str, Any]:
    return status_of(job, job.base)


def work(service: Terms, config: Config) -> None:
    """Answer the jobs of a service in this process, with all of its time, until SIGTERM or SIGINT."""
    from drivetrain.serving.server import WORKER_THREADS

    for name, threads in WORKER_THREADS.items():
        os.environ.setdefault(name, threads)
    worker = JobWorker(service, config, share=1.0)
    before = {each: signal.signal(each, lambda *_: worker.ask_to_stop()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        worker.start()
        worker.wait()
    finally:
        worker.stop()
        for each, handler in before.items():
            signal.signal(each, handler)

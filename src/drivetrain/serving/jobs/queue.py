"""The queue: jobs in the ledger, and every change of what becomes of one; a job ends exactly once.

A running job belongs to the attempt whose lease stands in its row. Whoever finds its worker gone puts it back, once;
the second time the job has failed. What an attempt hands in without the lease is thrown away.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.duration import duration
from drivetrain.errors import NotFound, RequestError, StoreUnavailable
from drivetrain.pipeline.runner import Runner, born, host, is_alive
from drivetrain.serving.jobs.job import STATES, Job, JobTotals, JobWorker, State
from drivetrain.store.hold import alone
from drivetrain.store.record import new_id, now

if TYPE_CHECKING:
    import polars as pl

    from drivetrain.serving.jobs.terms import Jobs
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store

# A job whose worker was ended is begun once more, and no more than that.
ATTEMPTS = 2


class Queue:
    """The jobs of one service. `worker` names this process among those that answer jobs."""

    def __init__(self, store: Store, service: str, terms: Jobs) -> None:
        self.store, self.service, self.terms = store, service, terms
        self._ledger = store.ledger
        self._keep = duration(terms.keep)
        self.keep_s = self._keep.total_seconds()
        self.worker = new_id("worker")
        self._ledger.prepare(Job, JobWorker, JobTotals)

    def take(self, job: Job, rows: bytes) -> tuple[Job, bool]:
        """Take a job in, and return it as it stands and whether it is new; it survives a power cut from then on.

        Raises:
            RequestError: too many jobs wait (429), or its idempotency key was used for something else (422).
        """
        before = self._same(job)
        if before is not None:
            return before, False
        self._hold_limit()
        with self.store.sharing():
            # With the job's own name in it nothing else has these bytes, and they can go when the job goes.
            digest = self.store.artifacts.put(b'{"job":"%b","rows":%b}' % (job.id.encode(), rows))
            with self._ledger.transaction():
                before = self._same(job)
                if before is not None:
                    return before, False
                self._hold_limit()
                job = msgspec.structs.replace(job, request=digest)
                self._ledger.write(job, self._totals(taken=1))
        return job, True

    def _same(self, job: Job) -> Job | None:
        if not job.idempotency_key:
            return None
        found = self._ledger.find(Job, {"service": self.service, "idempotency_key": job.idempotency_key}, limit=1)
        if not found:
            return None
        if found[0].body_sum != job.body_sum:
            message = (
                f"the Idempotency-Key was used for another body, that of {found[0].id}; take a new key for this one"
            )
            raise RequestError(status=422, message=message)
        return found[0]

    def _hold_limit(self) -> None:
        waiting = sum(self._count("queued", "running").values())
        if waiting >= self.terms.max_waiting:
            message = (
                f"{waiting:,} jobs are queued or running, and at most {self.terms.max_waiting:,} may; try again later"
            )
            raise RequestError(status=429, message=message)

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            RequestError: 404, the service has none of that name, or not any more.
        """
        job = self._ledger.get(Job, job_id)
        if job is None or job.service != self.service:
            message = f"there is no job {job_id[:60]!r} here; what has ended is kept for {self.terms.keep}"
            raise RequestError(status=404, message=message)
        return job

    def find(self, *, state: str = "", limit: int = 50, before: str = "") -> list[Job]:
        """Return the newest jobs first; `before` is the id after whose place the list goes on."""
        where: dict[str, Any] = {"service": self.service}
        if state:
            where["state"] = state
        if before:
            where["id <"] = before
        return self._ledger.find(Job, where, order="-id", limit=limit)

    def generation(self) -> int:
        """Return a number that changes whenever a job may have."""
        return self._ledger.generation()

    def cancel(self, job_id: str) -> Job:
        """End a job that has not ended; what runs of it stops at the next look.

        Raises:
            RequestError: there is none (404), or it has ended already (409).
        """
        with self._ledger.transaction():
            job = self.get(job_id)
            if job.state == "cancelled":
                return job
            if job.has_ended:
                raise RequestError(status=409, message=f"{job.id} is {job.state} and cannot be cancelled")
            return self._end(job, "cancelled", cancelled=1)

    def retry(self, job_id: str) -> Job:
        """Queue a job again that has failed or was cancelled: the same rows, for the same version.

        Raises:
            RequestError: there is none (404), or it has not failed (409).
        """
        with self._ledger.transaction():
            job = self.get(job_id)
            if job.state not in ("failed", "cancelled"):
                message = f"{job.id} is {job.state}; only what failed or was cancelled can be tried again"
                raise RequestError(status=409, message=message)
            self._hold_limit()
            job = msgspec.structs.replace(
                job, state="queued", attempts=0, lease="", done_rows=0, error="", started_at=None, finished_at=None,
                expires_at=None, callback_at=None,
            )  # fmt: skip
            self._ledger.write(job, self._totals(retried=1))
            return job

    def claim(self) -> Job | None:
        """Return the job that this worker is to answer now, with its lease; None where none waits.

        After a power cut nobody is at a job, so the disk is not waited for.
        """
        where = {"service": self.service}
        running = self._ledger.find(Job, where | {"state": "running"})
        queued = self._ledger.find(Job, where | {"state": "queued"}, order="created_at", limit=1)
        orphans = [job for job in running if not self._has_worker(job)]
        if not queued and not orphans:
            return None
        with self._ledger.transaction(is_durable=False):
            for orphan in orphans:
                self._take_back(orphan)
            queued = self._ledger.find(Job, where | {"state": "queued"}, order="created_at", limit=1)
            if not queued:
                return None
            job = queued[0]
            attempts = job.attempts + 1
            claimed = msgspec.structs.replace(
                job,
                state="running",
                attempts=attempts,
                lease=f"{self.worker} {os.urandom(4).hex()}",
                started_at=now(),
                done_rows=0,
            )
            self._ledger.write(claimed, self._worker())
            return claimed

    def _take_back(self, orphan: Job) -> None:
        """Put back a job whose worker is gone, or give it up when that has happened before."""
        current = self._ledger.get(Job, orphan.id)
        if current is None or current.state != "running" or current.lease != orphan.lease:
            return
        if current.attempts < ATTEMPTS:
            self._ledger.write(msgspec.structs.replace(current, state="queued", lease=""), self._totals(retried=1))
            return
        again = f"POST /jobs/{current.id}/retry or `drivetrain jobs --retry {current.id}` tries again"
        reason = f"the process that answered it was ended, {ATTEMPTS} times; {again}"
        self._end(current, "failed", error=reason, failed=1)

    def _has_worker(self, job: Job) -> bool:
        name = job.lease.partition(" ")[0]
        if name == self.worker:  # this one answers a job at a time, and asks for the next: it has none
            return False
        worker = self._ledger.get(JobWorker, name)
        return worker is not None and is_alive(_runner(worker))

    def _worker(self) -> JobWorker:
        pid = os.getpid()
        return JobWorker(
            id=self.worker, service=self.service, host=host(), pid=pid, born=born(pid), beat_at=now()
        )  # fmt: skip

    def advance(self, job: Job, done_rows: int) -> bool:
        """Write down how far an attempt is, and return whether it may go on."""
        with self._ledger.transaction(is_durable=False):
            current = self._held(job)
            if current is None:
                return False
            self._ledger.write(msgspec.structs.replace(current, done_rows=done_rows), self._worker())
        return True

    def finish(self, job: Job, result: bytes, log: Artifact, table: pl.DataFrame, *, busy_s: float) -> bool:
        """End a job with its result, its predictions in the log with it; False if it is not ours any more.

        The artifact `log` holds `table`; both it and the result are on the disk before the row that mentions them, and
        the caller shares the store's lock since before `log` was kept.
        """
        from drivetrain.serving.sealing import last_number, segment_of

        digest = self.store.artifacts.put(result)
        with self._ledger.transaction():
            current = self._held(job)
            if current is None:
                return False
            number = last_number(self._ledger, self.service) + 1
            self._ledger.write(segment_of(self.service, job.id, job.version, "predictions", number, log, table))
            current = msgspec.structs.replace(current, result=digest, done_rows=job.rows)
            self._end(current, "done", done=1, busy_s=busy_s)
        return True

    def fail(self, job: Job, reason: str) -> bool:
        """End a job that cannot be answered; False if it is not ours any more."""
        with self._ledger.transaction():
            current = self._held(job)
            if current is None:
                return False
            self._end(current, "failed", error=reason, failed=1)
        return True

    def give_back(self, job: Job) -> None:
        """Let another worker begin the job anew, as if this one had not: it was asked to stop."""
        with self._ledger.transaction():
            current = self._held(job)
            if current is not None:
                self._ledger.write(
                    msgspec.structs.replace(
                        current, state="queued", lease="", attempts=current.attempts - 1, done_rows=0
                    )
                )

    def leave(self) -> None:
        """Take this worker's name out."""
        if self._ledger.get(JobWorker, self.worker) is not None:
            self._ledger.delete(JobWorker, self.worker)

    def _held(self, job: Job) -> Job | None:
        current = self._ledger.get(Job, job.id)
        return current if current is not None and current.state == "running" and current.lease == job.lease else None

    def _end(self, job: Job, state: State, *, error: str = "", **counted: float) -> Job:
        moment = now()
        ended = msgspec.structs.replace(
            job,
            state=state,
            error=error,
            finished_at=moment,
            expires_at=moment + self._keep,
            callback_at=moment if job.callback_url else None,
            callback_attempts=[],
        )
        self._ledger.write(ended, self._totals(**counted))
        return ended

    def totals(self) -> JobTotals:
        """Return what became of all jobs."""
        return self._ledger.get(JobTotals, self.service) or JobTotals(service=self.service)

    def _totals(self, **added: float) -> JobTotals:
        totals = self.totals()
        return msgspec.structs.replace(
            totals, **{name: getattr(totals, name) + amount for name, amount in added.items()}
        )

    def _count(self, *states: str) -> dict[str, int]:
        places = ", ".join("?" * len(states))
        sql = f"SELECT state, count(*) FROM job WHERE service = ? AND state IN ({places}) GROUP BY state"  # noqa: S608
        return dict(self._ledger.select(sql, (self.service, *states)))

    def metrics(self) -> str:
        """Return what is queued, running and was done, in the form of Prometheus."""
        counts, totals, label = self._count("queued", "running"), self.totals(), f'{{service="{self.service}"}}'
        oldest = self._ledger.find(Job, {"service": self.service, "state": "queued"}, order="created_at", limit=1)
        waited = (now() - oldest[0].created_at).total_seconds() if oldest else 0.0
        told = [
            ("jobs_queued", "gauge", "Jobs that wait.", counts.get("queued", 0)),
            ("jobs_running", "gauge", "Jobs that a worker is at.", counts.get("running", 0)),
            ("jobs_oldest_seconds", "gauge", "How long the oldest job has waited.", max(0.0, waited)),
            ("jobs_taken_total", "counter", "Jobs that were taken in.", totals.taken),
            ("jobs_done_total", "counter", "Jobs that were answered.", totals.done),
            ("jobs_failed_total", "counter", "Jobs that failed.", totals.failed),
            ("jobs_cancelled_total", "counter", "Jobs that were cancelled.", totals.cancelled),
            ("jobs_retried_total", "counter", "Times that a job was begun again.", totals.retried),
            ("jobs_busy_seconds_total", "counter", "Time spent on the jobs that are done.", totals.busy_s),
        ]
        return "".join(
            f"# HELP drivetrain_{name} {text}\n# TYPE drivetrain_{name} {kind}\ndrivetrain_{name}{label} {value:.17g}\n"
            for name, kind, text, value in told
        )

    def clean(self) -> int:
        """Take away the jobs whose time is over, with their requests and results, and return how many there were."""
        where = {"service": self.service, "expires_at <": now()}
        expired = [job for job in self._ledger.find(Job, where, limit=200) if job.has_ended]
        for worker in self._ledger.find(JobWorker, {"service": self.service}):
            if worker.id != self.worker and not is_alive(_runner(worker)) and not self._runs_anything(worker):
                self._ledger.delete(JobWorker, worker.id)
        if not expired:
            return 0
        try:
            with alone(self.store.root, patience_s=0.0):  # a backup that is being written may name them
                with self._ledger.transaction():
                    for job in expired:
                        self._ledger.delete(Job, job.id)
                for job in expired:
                    for digest in filter(None, (job.request, job.result)):
                        self.store.artifacts.place(digest).unlink(missing_ok=True)
        except StoreUnavailable:
            return 0
        return len(expired)

    def _runs_anything(self, worker: JobWorker) -> bool:
        running = self._ledger.find(Job, {"service": self.service, "state": "running"})
        return any(job.lease.startswith(f"{worker.id} ") for job in running)

    def to_tell(self, lease: timedelta) -> Job | None:
        """Return a job whose client is to be told now; nobody else gets it for as long as the lease says."""
        where = {"service": self.service, "callback_at <=": now()}
        if not self._ledger.find(Job, where, limit=1):
            return None
        with self._ledger.transaction():
            found = self._ledger.find(Job, where, order="callback_at", limit=1)
            if not found:
                return None
            self._ledger.write(msgspec.structs.replace(found[0], callback_at=now() + lease))
            return found[0]

    def told(self, job: Job, outcome: dict[str, Any], again: timedelta | None) -> None:
        """Write down how a client took it; `again` is when to try once more, None for never."""
        with self._ledger.transaction():
            current = self._ledger.get(Job, job.id)
            if current is None or current.finished_at != job.finished_at:
                return
            self._ledger.write(
                msgspec.structs.replace(
                    current,
                    callback_at=None if again is None else now() + again,
                    callback_attempts=[*current.callback_attempts, outcome],
                )
            )


def _runner(worker: JobWorker) -> Runner:
    return Runner(run=worker.id, host=worker.host, pid=worker.pid, born=worker.born, beat_at=worker.beat_at)


def check_state(state: str) -> None:
    """Refuse a state that no job can be in.

    Raises:
        NotFound: it is none.
    """
    if state not in STATES:
        raise NotFound(kind="state", name=state, known=list(STATES))

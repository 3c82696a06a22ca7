"""The address of jobs: rows are handed in, and the result is fetched when it is there."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from drivetrain.errors import DrivetrainError, RequestError, StoreError, nearest
from drivetrain.serving.jobs.callback import check_url
from drivetrain.serving.jobs.job import STATES, Job
from drivetrain.serving.jobs.queue import Queue
from drivetrain.serving.jobs.status import status_of
from drivetrain.serving.jobs.worker import JobWorker
from drivetrain.serving.journal import one_line
from drivetrain.serving.live import picked
from drivetrain.serving.route import JSON, Answer, Bodies, Body, Request, Route, as_json
from drivetrain.store.record import new_id, now
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivetrain.serving.config import Config
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.live import Live

T = TypeVar("T")
_JSON_BODY = ("application/json",)
# A client may wait for a job at most so long in one request.
LONGEST_WAIT_S = 30.0
_LOOK_S = 0.05
_PAGE = 50
_LARGEST_PAGE = 500


class JobsApi:
    """Takes jobs in, tells how they stand, and has a worker answer them in this process's idle room."""

    def __init__(self, desk: Desk, config: Config, *, base: str = "") -> None:
        self._desk, self._callbacks, self._base = desk, config.callbacks, base
        service = desk.service
        # Of its own: what waits for the disk here must not hold up the requests that are answered at once.
        self._store = Store.open(Path(config.store))
        self._queue = Queue(self._store, service.name, service.jobs)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="jobs-api")
        self._worker = JobWorker(service, config, share=service.jobs.share, is_busy=lambda: desk.exchange.is_busy)
        self._worker.start()

    def close(self) -> None:
        """Stop working, and let go of the store."""
        self._worker.stop()
        self._pool.shutdown(wait=True)
        self._store.close()

    def routes(self) -> list[Route]:
        """Return what it answers."""
        return [
            Route("POST", "/jobs", self.take, takes=_JSON_BODY, describe=self._bodies, status=202),
            Route("GET", "/jobs", self.list),
            Route("GET", "/jobs/{job}", self.status),
            Route("DELETE", "/jobs/{job}", self.cancel),
            Route("GET", "/jobs/{job}/result", self.result),
            Route("POST", "/jobs/{job}/retry", self.retry, status=202),
        ]

    def _bodies(self, live: Live) -> Bodies:
        from drivetrain.serving.openapi import array_of, example_request, ref

        row = example_request(live)
        many = {**array_of(ref("Row")), "minItems": 1, "maxItems": self._desk.service.jobs.max_rows}
        asked = Body({"oneOf": [ref("Row"), many]}, {"one row": row, "two rows": [row, row]})
        return Bodies({"application/json": asked}, {"application/json": Body({"type": "object"})})

    def metrics(self) -> str:
        """Return what is queued, running and was done, in the form of Prometheus."""
        return self._queue.metrics()

    async def take(self, request: Request) -> Answer:
        """Take rows in; they survive a power cut when this answers."""
        asked = _asked(request.query, "callback_url")
        callback_url = check_url(asked["callback_url"], self._callbacks) if "callback_url" in asked else ""
        key = request.headers.get("idempotency-key")
        if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
            raise RequestError(status=400, message="the Idempotency-Key must be 1 to 255 printable ASCII characters")
        draft, rows = self._draft(request.body)
        body_sum = hashlib.sha256(request.body + b"\0" + callback_url.encode()).hexdigest()
        draft = msgspec.structs.replace(draft, idempotency_key=key or "", body_sum=body_sum, callback_url=callback_url)
        job, is_new = await self._apart(partial(self._queue.take, draft, rows))
        answer = self._accepted(job)
        return answer if is_new else answer._replace(headers=[*answer.headers, ("idempotency-replayed", "true")])

    def _accepted(self, job: Job) -> Answer:
        headers = [*JSON, ("location", f"{self._base}/jobs/{job.id}")]
        return Answer(202, headers, as_json(status_of(job, self._base)))

    def _draft(self, body: bytes) -> tuple[Job, bytes]:
        """Return the job of a body that has been checked, and its rows as an array for the version that answers it."""
        desk = self._desk
        live = desk.live()
        is_one = body.lstrip()[:1] != b"["
        if is_one:
            rows, texts = [live.reader.one(body)], [msgspec.Raw(body)]
        else:
            rows, texts = live.reader.many(body, limit=desk.service.jobs.max_rows)
            if not rows:
                raise RequestError(status=422, message="the array is empty; a job has one row or more")
        name = new_id("job")
        arm, predictor, _, columns = live.share_of(rows, name)
        if predictor.reader.names != live.reader.names:  # the other arm's columns are not this one's to read
            texts = predictor.reader.texts(picked(rows, columns))
        first, last = desk.names.pair()
        draft = Job(
            id=name,
            service=desk.service.name,
            version=predictor.version.id,
            arm=arm,
            rows=len(rows),
            is_one=is_one,
            request="",
            body_sum="",
            names=(first, last),
            created_at=now(),
            base=self._base,
        )
        return draft, b"[" + b",".join(bytes(one_line(bytes(text))) for text in texts) + b"]"

    async def status(self, request: Request) -> Answer:
        """Tell how a job stands; with `wait`, when it has ended or so many seconds have passed."""
        asked = _asked(request.query, "wait")
        wait_s = _number(asked, "wait", 0.0, 0.0, LONGEST_WAIT_S)
        job_id, end = request.parameters["job"], monotonic() + wait_s
        job, generation = await self._apart(partial(self._seen, job_id))
        while not job.has_ended and monotonic() < end:
            await asyncio.sleep(_LOOK_S)
            if await self._apart(self._queue.generation) != generation:
                job, generation = await self._apart(partial(self._seen, job_id))
        return self._told(job)

    def _told(self, job: Job) -> Answer:
        return Answer(200, JSON, as_json(status_of(job, self._base)))

    def _seen(self, job_id: str) -> tuple[Job, int]:
        generation = self._queue.generation()
        return self._queue.get(job_id), generation

    async def result(self, request: Request) -> Answer:
        """Give what /predict would have answered."""
        _asked(request.query)
        return Answer(200, JSON, await self._apart(partial(self._result, request.parameters["job"])))

    def _result(self, job_id: str) -> bytes:
        job = self._queue.get(job_id)
        if job.state != "done":
            reason = f": {job.error}" if job.error else ""
            raise RequestError(status=409, message=f"{job.id} is {job.state} and has no result{reason}")
        return self._store.artifacts.get(job.result)

    async def cancel(self, request: Request) -> Answer:
        """End a job that has not ended."""
        _asked(request.query)
        return self._told(await self._apart(partial(self._queue.cancel, request.parameters["job"])))

    async def retry(self, request: Request) -> Answer:
        """Queue a job again that has failed."""
        _asked(request.query)
        job = await self._apart(partial(self._queue.retry, request.parameters["job"]))
        return self._accepted(job)

    async def list(self, request: Request) -> Answer:
        """List jobs, the newest first."""
        asked = _asked(request.query, "state", "limit", "before")
        state = asked.get("state", "")
        if "state" in asked and state not in STATES:
            raise RequestError(status=422, message=f"no state is called {state[:60]!r}: {nearest(state, STATES)}")
        limit = int(_number(asked, "limit", _PAGE, 1, _LARGEST_PAGE))
        before = asked.get("before", "")
        found = await self._apart(partial(self._queue.find, state=state, limit=limit + 1, before=before))
        told: dict[str, Any] = {"jobs": [status_of(job, self._base) for job in found[:limit]]}
        if len(found) > limit:
            told["before"] = found[limit - 1].id
        return Answer(200, JSON, as_json(told))

    async def _apart(self, ask: Callable[[], T]) -> T:
        """Do what waits for the disk in a thread.

        Raises:
            RequestError: 503, the store cannot be used at the moment.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, ask)
        except StoreError as error:
            raise RequestError(status=503, message=f"jobs cannot be kept at the moment: {error.message}") from error
        except RequestError:
            raise
        except DrivetrainError as error:  # cleaned away in this very moment
            raise RequestError(status=404, message=error.message) from error


def _asked(query: str, *known: str) -> Mapping[str, str]:
    """Return what a query asks for.

    Raises:
        RequestError: 422, it has an unknown name, or one twice.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=20)
    except (ValueError, UnicodeDecodeError):
        raise RequestError(status=400, message="the query cannot be read") from None
    found = dict(pairs)
    for name in found:
        if name not in known:
            remedy = nearest(name, known) if known else "it takes none"
            raise RequestError(status=422, message=f"the query has an unknown name {name[:60]!r}: {remedy}")
    if len(found) < len(pairs):
        raise RequestError(status=422, message="the query has a name twice")
    return found


def _number(asked: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = asked.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise RequestError(
            status=422, message=f"{name} is {text[:60]!r}, and must be a number from {low:g} to {high:g}"
        )
    return value

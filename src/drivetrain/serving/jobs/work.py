"""Work: a worker takes jobs from the queue and answers them, at the pace that it is given."""

from __future__ import annotations

import logging
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import DrivetrainError, RequestError
from drivetrain.registry.registry import version
from drivetrain.serving.batching import class_names, line_for
from drivetrain.serving.curve import Curve
from drivetrain.serving.live import arm_of, reason_of, side_of
from drivetrain.serving.queue import HARDLY_LONGER
from drivetrain.store.record import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivetrain.serving.answers import Answers
    from drivetrain.serving.jobs.job import Job
    from drivetrain.serving.jobs.queue import Queue
    from drivetrain.serving.journal import Line
    from drivetrain.serving.live import Arm
    from drivetrain.serving.requests import Row

LOG = logging.getLogger("drivetrain.serving")

# A piece of a job takes about so long, and an online request that comes meanwhile waits at most for it.
PIECE_S = 0.005
# Where nobody knows yet what more rows take, a piece that tries it takes up to so long.
TRIAL_S = 0.1
# How often progress is written down, and the lease looked at.
TELL_S = 0.5
CLEAN_S = 30.0


class _Body(msgspec.Struct):
    job: str
    rows: msgspec.Raw


class _RowFailed(Exception):
    def __init__(self, row: int) -> None:
        self.row = row


class Work:
    """Answers the jobs of a service one after the other.

    `rest` is called after each piece with the seconds that it took, and returns when the next one may begin: it makes
    room for what is more urgent. It returns False when the worker is to stop.
    """

    def __init__(self, queue: Queue, *, max_batch: int, rest: Callable[[float], bool]) -> None:
        self._queue, self._max_batch, self._rest = queue, max_batch, rest
        self._predictor: Arm | None = None
        self._curve = Curve({1: 0.0})
        self._clean_at = monotonic()
        self._idle_since = monotonic()

    def once(self) -> bool:
        """Answer one job if one waits, and return whether there was one."""
        if monotonic() >= self._clean_at:
            self._clean_at = monotonic() + min(CLEAN_S, self._queue.keep_s)
            self._queue.clean()
        job = self._queue.claim()
        if job is None:
            if self._predictor is not None and monotonic() - self._idle_since > CLEAN_S:
                self._predictor = None  # a second copy of the model is kept only while there is work
            return False
        try:
            self._answer(job)
        except RequestError as error:
            self._queue.fail(job, error.message)
        except _RowFailed as error:
            error_id = new_id("error")
            LOG.error("%s: %s could not be answered", error_id, job.id, exc_info=error.__cause__)
            self._queue.fail(job, f"the model failed on row {error.row}; the worker's log has more under {error_id}")
        except DrivetrainError as error:
            self._queue.fail(job, error.message)
        except Exception as error:  # the version's code is the user's, and may raise anything
            error_id = new_id("error")
            LOG.error("%s: %s could not be answered", error_id, job.id, exc_info=error)
            self._queue.fail(job, f"{job.version} cannot answer: {reason_of(error)} ({error_id})")
        self._idle_since = monotonic()
        return True

    def _answer(self, job: Job) -> None:
        from drivetrain.serving.lines import tables_of

        store = self._queue.store
        predictor = self._ready(job.version)
        body = msgspec.json.decode(store.artifacts.get(job.request), type=_Body)
        rows, texts = predictor.reader.many(bytes(body.rows), limit=job.rows)
        lines: list[bytes] = []
        results: list[Any] = []
        told_at, busy_s, begin = monotonic(), 0.0, 0
        while begin < len(rows):
            started = perf_counter()
            end = min(begin + self._piece(predictor), len(rows))
            answers = self._answers(predictor, rows, begin, end)
            self._curve.add(end - begin, perf_counter() - started)
            ids = job.ids(begin, end)
            lines.append(msgspec.json.encode(_line(job, predictor, ids, rows[begin:end], texts[begin:end], answers)))
            results += _told(job, predictor, ids, answers)
            begin = end
            taken = perf_counter() - started
            busy_s += taken
            if monotonic() - told_at >= TELL_S:
                if not self._queue.advance(job, begin):
                    return
                told_at = monotonic()
            if not self._rest(taken) and begin < len(rows):
                self._queue.give_back(job)
                return
        started = perf_counter()
        result = msgspec.json.encode(results[0] if job.is_one else {"predictions": results})
        data = b"".join(line + b"\n" for line in lines)
        with store.sharing():
            table = tables_of(store, job.id, data)[job.version]
            log = store.keep(table, part=job.service, detail={"service": job.service, "log": "predictions"})
            self._queue.finish(job, result, log, table, busy_s=busy_s + perf_counter() - started)
        self._rest(perf_counter() - started)

    def _ready(self, name: str) -> Arm:
        """Return the version of a job, loaded apart from what answers online: a model is used by one thread."""
        if self._predictor is None or self._predictor.version.id != name:
            chosen = version(self._queue.store.ledger, name)
            self._predictor = None
            store = self._queue.store
            self._predictor = arm_of(store, chosen, side_of(store.ledger, chosen))
            self._curve = Curve(self._predictor.seconds)
        return self._predictor

    def _piece(self, predictor: Arm) -> int:
        """Return how many rows are answered at once: where the model waits for something else, as many as may."""
        if predictor.is_awaited:
            return self._max_batch
        curve = self._curve
        if curve.is_guess:
            return 1
        rows = curve.rows_within(max(PIECE_S, HARDLY_LONGER * curve.likely_s(1)), most=self._max_batch)
        return curve.worth_trying(rows, most=self._max_batch, risk_s=TRIAL_S)

    def _answers(self, predictor: Arm, rows: Sequence[Row], begin: int, end: int) -> Answers:
        try:
            return predictor.answer(rows[begin:end])
        except RequestError:  # the model says itself what is wrong with a row
            raise
        except Exception as error:  # the model is the user's; which row it failed on is found by asking one by one
            for number in range(begin, end):
                try:
                    predictor.answer(rows[number : number + 1])
                except Exception as alone:
                    raise _RowFailed(number) from alone
            raise _RowFailed(begin) from error


def _line(
    job: Job, predictor: Arm, ids: list[str], rows: Sequence[Row], texts: Sequence[msgspec.Raw], answers: Answers
) -> Line:
    key = predictor.version.signature.roles.key
    place = predictor.reader.names.index(key) if key in predictor.reader.names else None
    keys = None if place is None else [row[place] for row in rows]
    return line_for(job.version, job.arm, ids, keys, list(texts), answers)


def _told(job: Job, predictor: Arm, ids: list[str], answers: Answers) -> list[dict[str, Any]]:
    """Return what /predict would have told of each row."""
    told: list[dict[str, Any]] = [
        {"id": name, "version": job.version, "prediction": value}
        for name, value in zip(ids, answers.predictions, strict=True)
    ]
    if answers.probabilities is not None:
        classes = class_names(predictor.classes)
        for each, shares in zip(told, answers.probabilities, strict=True):
            each["probabilities"] = dict(zip(classes, shares, strict=True))
    return told

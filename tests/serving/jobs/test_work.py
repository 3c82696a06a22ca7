"""Workers of jobs: what they answer, and what happens when one dies."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from tests.serving.world import MODEL, ROOT, ROW, SERVICE, logged, promote, register, wait_until

from drivetrain.errors import UnsafePickle
from drivetrain.serving.jobs.job import Job
from drivetrain.serving.jobs.queue import Queue
from drivetrain.serving.jobs.terms import Jobs
from drivetrain.serving.jobs.work import Work
from drivetrain.serving.journal import Names
from drivetrain.serving.predictor import Predictor
from drivetrain.store.record import new_id, now

if TYPE_CHECKING:
    from drivetrain.store.store import Store


class Fails:
    """A model that cannot answer one row."""

    def predict_proba(self, x: Any) -> Any:
        if (np.asarray(x)[:, 0] == 13).any():
            raise RuntimeError("unlucky")
        return np.tile([0.5, 0.5], (len(x), 1))


def queue_of(store: Store) -> Queue:
    return Queue(store, SERVICE, Jobs())


def queued(queue: Queue, rows: list[dict[str, Any]], version: str = f"{MODEL}@1") -> Job:
    draft = Job(
        id=new_id("job"), service=SERVICE, version=version, arm="champion", rows=len(rows), is_one=False, request="",
        body_sum="", names=Names().pair(), created_at=now(),
    )  # fmt: skip
    return queue.take(draft, msgspec.json.encode(rows))[0]


def worker(store: Store) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.serving.jobs.run_worker", str(store.root)], cwd=ROOT)


def test_an_attempt_that_lost_its_lease_changes_nothing(store: Store) -> None:
    promote(store, register(store, 1))
    slow, quick = queue_of(store), queue_of(store)
    job = queued(slow, [ROW])
    first = slow.claim()
    assert first is not None
    store.ledger.write(msgspec.structs.replace(first, state="queued", lease=""))  # as who finds its worker gone does

    second = quick.claim()

    assert second is not None
    assert second.attempts == 2
    assert not slow.advance(first, 1)
    assert not slow.fail(first, "too late")
    slow.give_back(first)
    assert quick.get(job.id) == second


def test_a_cancelled_job_is_not_finished(store: Store) -> None:
    promote(store, register(store, 1))
    queue = queue_of(store)
    job = queued(queue, [ROW] * 5)

    def cancelled(_: float) -> bool:
        if not queue.get(job.id).has_ended:
            queue.cancel(job.id)
        return True

    Work(queue, max_batch=1, rest=cancelled).once()

    assert queue.get(job.id).state == "cancelled"
    assert len(logged(store)) == 0


def test_a_worker_that_is_asked_to_stop_gives_its_job_back(store: Store) -> None:
    promote(store, register(store, 1))
    queue = queue_of(store)
    job = queued(queue, [ROW] * 5)

    Work(queue, max_batch=1, rest=lambda _: False).once()

    assert (queue.get(job.id).state, queue.get(job.id).attempts) == ("queued", 0)


def test_the_row_that_the_model_failed_on_is_named(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.allow_pickle = True
    with pytest.warns(UnsafePickle):
        artifact = store.keep(Fails(), part=MODEL)
    register(store, 1, is_fast=False, artifact=artifact)
    queue = queue_of(store)
    job = queued(queue, [{**ROW, "distance": float(number)} for number in range(20)])

    with pytest.warns(UnsafePickle):
        Work(queue, max_batch=256, rest=lambda _: True).once()

    seen = queue.get(job.id)
    assert seen.state == "failed"
    assert "the model failed on row 13;" in seen.error
    assert "unlucky" in caplog.text
    assert len(logged(store)) == 0


def test_a_job_whose_worker_is_killed_is_tried_once_more_and_then_fails(store: Store) -> None:
    promote(store, register(store, 1))
    queue = queue_of(store)
    job = queued(queue, [ROW])
    program = (
        "import os, signal, sys; from pathlib import Path; from tests.serving.jobs.test_work import queue_of;"
        "from drivetrain.store.store import Store;"
        "assert queue_of(Store.open(Path(sys.argv[1]))).claim(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    states = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program, str(store.root)], cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
        states.append((queue.get(job.id).state, queue.get(job.id).attempts))

    assert queue.claim() is None

    assert states == [("running", 1), ("running", 2)]
    assert queue.get(job.id).state == "failed"
    assert "was ended, 2 times" in queue.get(job.id).error
    assert f"`drivetrain jobs --retry {job.id}` tries again" in queue.get(job.id).error
    assert queue.retry(job.id).state == "queued"
    Work(queue, max_batch=256, rest=lambda _: True).once()
    assert queue.get(job.id).state == "done"


@pytest.mark.slow
def test_every_job_ends_once_with_the_right_result_whenever_workers_are_killed(store: Store) -> None:
    promote(store, register(store, 1))
    queue, chance = queue_of(store), random.Random(4)
    jobs = [queued(queue, [{**ROW, "distance": float(number)}] * (1 + number % 4)) for number in range(300)]
    predictor = Predictor.load(store, register(store, 1))
    workers = [worker(store) for _ in range(2)]
    kills, end = 0, time.monotonic() + 50

    def left() -> int:
        return len(store.ledger.find(Job, {"state": "queued"})) + len(store.ledger.find(Job, {"state": "running"}))

    try:
        wait_until(lambda: left() < 300, 20)
        while left() and time.monotonic() < end:
            if kills < 12:
                time.sleep(chance.uniform(0.02, 0.4))
                place = chance.randrange(2)
                before = left()
                workers[place].kill()
                workers[place].wait()
                workers[place] = worker(store)
                kills += 1
                wait_until(lambda before=before: left() < before or not left(), 20)
            else:
                time.sleep(0.1)
    finally:
        for each in workers:
            each.terminate()
        codes = [each.wait(timeout=20) for each in workers]

    assert codes == [0, 0]
    assert kills >= 5
    found = [queue.get(job.id) for job in jobs]
    # Killed twice over the same job, it has failed and says so; never is one lost, or left hanging.
    assert {job.state for job in found} <= {"done", "failed"}
    assert all("was ended, 2 times" in job.error for job in found if job.state == "failed")
    done = [(number, job) for number, job in enumerate(found) if job.state == "done"]
    assert len(done) >= 290
    ids: Counter[str] = Counter(logged(store)["id"])
    assert set(ids.values()) == {1}
    body = msgspec.json.encode([{**ROW, "distance": float(number)} for number, _ in done])
    right = predictor.answer(predictor.reader.many(body, limit=300)[0]).predictions
    expected = 0
    for (_, job), value in zip(done, right, strict=True):
        told = msgspec.json.decode(store.artifacts.get(job.result))["predictions"]
        assert [each["id"] for each in told] == job.ids(0, job.rows)
        assert [each["prediction"] for each in told] == [value] * job.rows
        assert all(ids[each["id"]] == 1 for each in told)
        expected += job.rows
    assert sum(ids.values()) == expected
    totals = queue.totals()
    assert (totals.done, totals.failed) == (len(done), 300 - len(done))

"""Batch jobs that have been: which of them is running, which went on, and what they left behind."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from drivetrain.serving.batch.job import BatchJob, BatchPart
from drivetrain.serving.batch.place import Place
from drivetrain.store.fingerprints import digest_of_file

if TYPE_CHECKING:
    from drivetrain.store.store import Store


def is_running(store: Store, job: BatchJob) -> bool:
    """Return whether a process is at a job that has not finished."""
    if job.state not in ("running", "placing"):
        return False
    try:
        with open(Place(job.output, job.settings["format"]).lock_of(store.root), encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def jobs_of(store: Store, *, limit: int | None = None) -> list[BatchJob]:
    """Return the batch jobs, the newest first; one whose process is gone was interrupted."""
    return [
        msgspec.structs.replace(job, state="interrupted")
        if job.state in ("running", "placing") and not is_running(store, job)
        else job
        for job in store.ledger.find(BatchJob, order="-started_at", limit=limit)
    ]


def sweep(store: Store) -> None:
    """Remove the folders of finished jobs, also of those that were killed before they could."""
    for job in store.ledger.find(BatchJob, {"state": "finished", "work >": ""}):
        shutil.rmtree(job.work, ignore_errors=True)
        store.ledger.write(msgspec.structs.replace(job, work=""))


def holds(part: BatchPart) -> bool:
    """Return whether a finished part is as it was written; in a bucket, whether it has its size."""
    if "://" in part.path:
        from drivetrain.serving.batch.obstore import size_of

        return size_of(part.path) == part.size_bytes
    try:
        return digest_of_file(Path(part.path)) == f"sha256:{part.sha256}"
    except OSError:
        return False

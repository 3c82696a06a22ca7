"""What a client is told of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.serving.jobs.callback import telling

if TYPE_CHECKING:
    from drivetrain.serving.jobs.job import Job


def status_of(job: Job, base: str) -> dict[str, Any]:
    """Return how a job stands, without its rows and its result; `base` is the path below which its service is asked."""
    told: dict[str, Any] = {
        "id": job.id,
        "state": job.state,
        "version": job.version,
        "rows": job.rows,
        "done_rows": job.done_rows,
        "attempts": job.attempts,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "expires_at": job.expires_at,
    }
    if job.error:
        told["error"] = job.error
    if job.state == "done":
        told["result"] = f"{base}/jobs/{job.id}/result"
    if job.callback_url:
        told["callback"] = {"url": job.callback_url, "state": telling(job), "attempts": job.callback_attempts}
    return told

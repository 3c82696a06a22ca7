"""`dt.log`: a step writes down figures while it works."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drivetrain.system.part import Job

CURRENT: ContextVar[Job | None] = ContextVar("drivetrain_job", default=None)


def log(name: str, value: float, *, step: int = 0) -> None:
    """Record one point of a metric of the step that is running; outside of a run, do nothing.

    `step` counts along a curve: an epoch, an iteration.

    >>> log("loss", 0.3, step=1)
    """
    job = CURRENT.get()
    if job is not None:
        job.log(name, value, step)

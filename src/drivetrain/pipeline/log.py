"""`dt.log` and `dt.attach`: a step writes down figures, and keeps files beside its output, while it works."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from drivetrain.errors import UsageError
from drivetrain.pipeline.points import running
from drivetrain.system.caller import caller

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.system.part import Job

CURRENT: ContextVar[Job | None] = ContextVar("drivetrain_job", default=None)


def log(name: str | Mapping[str, float], value: float | None = None, *, step: int | None = None) -> None:
    """Record one point of a metric of the step that is running, or of each metric in a dict; outside of a run, nothing.

    `step` counts along a curve: an epoch, an iteration. Without it, points are counted from 0, each metric on its own.

    >>> log("loss", 0.3, step=1)
    >>> log({"loss": 0.2, "accuracy": 0.9}, step=2)

    Raises:
        UsageError: a value is not a number, or a name is empty, too long or has characters that cannot be shown.
    """
    job = CURRENT.get() or running()
    if job is None:
        return
    if isinstance(name, str) or not hasattr(name, "items"):
        job.log(name, value, step)  # type: ignore[arg-type]  # what is no number is refused there
        return
    if value is not None:
        raise UsageError(
            "dt.log was given a dict and a value beside it",
            remedy="put the value into the dict; a step is a keyword: `dt.log({…}, step=3)`",
            place=caller(),
        )
    for each, number in name.items():
        job.log(each, number, step)


def attach(name: str, value: Any) -> None:
    """Keep something beside the output of the step that is running, under a name; outside of a run, do nothing.

    A figure of matplotlib, plotly or altair, a frame, an array, a dict, a list or text is kept in the form of its type,
    and the file that a `pathlib.Path` names as it is. The same name again takes the place of the earlier one.

    >>> attach("confusion", {"true": 3, "false": 1})

    Raises:
        UsageError: the file is not there, or the name is empty, too long or has characters that cannot be shown.
        NoCodec: no safe codec keeps the value.
    """
    job = CURRENT.get() or running()
    if job is not None:
        job.attach(name, value)

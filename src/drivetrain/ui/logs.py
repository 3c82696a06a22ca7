"""What steps printed: the last of it on the page of a run, and all of it as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from starlette.responses import FileResponse

from drivetrain.errors import NotFound
from drivetrain.pipeline.attempt import log_path
from drivetrain.pipeline.run import StepRun

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from drivetrain.ui.console import Console

TAIL_BYTES = 4096
TAIL_LINES = 12
# A log is what code printed: a browser shows it as text and does nothing else with it.
_ALONE = "sandbox; default-src 'none'; frame-ancestors 'none'"


class LogView(msgspec.Struct, frozen=True, kw_only=True):
    """A step's log: where all of it is, how large that is, and its last lines."""

    address: str
    size_bytes: int
    last: str


def log_of(console: Console, step: StepRun, *, with_text: bool = True) -> LogView | None:
    """Return a step's log; None where it has printed nothing."""
    path = _path(console, step)
    if path is None:
        return None
    size, last = path.stat().st_size, ""
    if with_text:
        with open(path, "rb") as file:
            file.seek(max(0, size - TAIL_BYTES))
            last = "\n".join(file.read().decode(errors="replace").splitlines()[-TAIL_LINES:])
    address = f"/logs/{quote(step.run, safe='')}?step={quote(step.step, safe='')}"
    return LogView(address=address, size_bytes=size, last=last)


def answer(console: Console, request: Request) -> Response:
    """Answer with all that a step printed.

    Raises:
        NotFound: there is no such step, or it has printed nothing.
    """
    run, name = request.path_params["run"], request.query_params.get("step", "")
    step = console.store.ledger.get(StepRun, run, name)
    path = _path(console, step) if step is not None else None
    if path is None:
        raise NotFound(kind="log", name=f"{run} {name}", remedy="the page of the run links those that there are")
    return FileResponse(path, media_type="text/plain; charset=utf-8", headers={"content-security-policy": _ALONE})


def _path(console: Console, step: StepRun) -> Path | None:
    """Return where a step's log is; a run that was imported names no file outside of the logs."""
    path = log_path(console.store.root, step)
    logs = console.store.root / "logs"
    return path if path.is_file() and path.resolve().is_relative_to(logs.resolve()) else None

"""What went wrong in a step, told to the user in terms of their own code."""

from __future__ import annotations

import os
import re
import traceback
from typing import TYPE_CHECKING

from drivetrain.errors import DrivetrainError, GiveUp, Place, StepFailed, TryAgain

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.system.part import Part

_OURS = os.path.dirname(os.path.dirname(__file__))
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in ', re.MULTILINE)


def failure_of(name: str, part: Part, error: BaseException, root: Path) -> BaseException:
    """Return an error of the step `name` that names the line of the user's code; what ends a program stays as it is."""
    if not isinstance(error, Exception):
        return error
    if isinstance(error, DrivetrainError) and not isinstance(error, (TryAgain, GiveUp)):
        if error.place is None:
            error.place = part.place
            if "place" in error.facts:
                error.facts["place"] = part.place
        return error
    place, shown = part.place, []
    for frame in traceback.extract_tb(error.__traceback__):
        if _is_users(frame.filename, root):
            place = Place(frame.filename, frame.lineno or 0)
            frame.filename = os.path.relpath(frame.filename, root)
            shown.append(frame)
    text = "".join(traceback.format_list(shown))
    failed = StepFailed(step=name, cause=f"{type(error).__name__}: {error}", traceback=text, place=place)
    failed.remedy = " ".join(getattr(error, "__notes__", []))
    failed.__cause__ = error
    return failed


def trace_in_dump(dump: str) -> str:
    """Return the lines of what `faulthandler` wrote that are not of ours or of Python's own start, outermost first."""
    lines = [line for line in dump.splitlines() if (found := _FRAME.match(line)) and not _is_inner(found[1])]
    return "\n".join(reversed(lines))


def place_in_dump(dump: str, declared: Place, root: Path) -> Place:
    """Return the innermost line of the user's code in what `faulthandler` wrote; by default where it is declared."""
    for file, line in _FRAME.findall(dump):
        if _is_users(file, root):
            return Place(file, int(line))
    return declared


def account(error: BaseException) -> str:
    """Return an error as the record keeps it: the message, and the user's traceback."""
    trace = getattr(error, "traceback", "")
    return f"{error}\n\n{trace}".strip()


def _is_inner(file: str) -> bool:
    return file.startswith((_OURS, "<frozen"))


def _is_users(file: str, root: Path) -> bool:
    return file.startswith(f"{root}{os.sep}") and "site-packages" not in file and not file.startswith(_OURS)

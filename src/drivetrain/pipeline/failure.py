"""What went wrong in a step, told to the user in terms of their own code."""

from __future__ import annotations

import os
import re
import signal
import threading
import traceback
from typing import TYPE_CHECKING

from drivetrain.errors import DrivetrainError, GiveUp, Place, StepFailed, TryAgain

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.system.part import Part

_OURS = os.path.dirname(os.path.dirname(__file__))
# Of what an error says, and of the lines that led to it, the first and the last are shown.
WORDS, LINES = 4000, 30
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in ', re.MULTILINE)


def failure_of(name: str, part: Part, error: BaseException, root: Path) -> BaseException:
    """Return an error of the step `name` that names the line of the user's code; Ctrl-C stays as it is."""
    if isinstance(error, KeyboardInterrupt) and _can_be_interrupted():
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
    text = _shortened("".join(traceback.format_list(shown)).splitlines(keepends=True))
    cause = f"{type(error).__name__}: {words_of(error)}"
    failed = StepFailed(step=name, cause=cause, traceback=text, place=place)
    failed.remedy = _kept(" ".join(map(str, getattr(error, "__notes__", []))))
    failed.__cause__ = error
    return failed


def words_of(error: BaseException) -> str:
    """Return what an error says, in words that can be kept: not too many, in Unicode, and whatever its `str` does.

    >>> words_of(ValueError("x" * 5000)).strip("x")
    ' … 1,000 letters … '
    """
    try:
        return _kept(str(error))
    except Exception as second:
        return f"(it cannot say what is wrong: its `__str__` raised {type(second).__name__})"


def _kept(text: str) -> str:
    if len(text) > WORDS:
        text = f"{text[: WORDS // 2]} … {len(text) - WORDS:,} letters … {text[-WORDS // 2 :]}"
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")


def _shortened(lines: list[str]) -> str:
    if len(lines) > 2 * LINES:
        lines = [*lines[:LINES], f"  … {len(lines) - 2 * LINES:,} lines …\n", *lines[-LINES:]]
    return "".join(lines)


def _can_be_interrupted() -> bool:
    """Return whether Ctrl-C may have raised an error here: it reaches the main thread, and none that leaves it be."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) is not signal.SIG_DFL


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

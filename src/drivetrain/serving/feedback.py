"""Labels that clients send once the truth is known; kept on the disk before they are acknowledged."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from time import time_ns
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import RequestError, nearest
from drivetrain.serving.journal import Label, time_of
from drivetrain.serving.requests import MAX_PROBLEMS, parse, shown, too_many_rows

if TYPE_CHECKING:
    import asyncio

    from drivetrain.registry.version import Signature
    from drivetrain.serving.counters import Counters
    from drivetrain.serving.journal import Journal

LOG = logging.getLogger("drivetrain.serving")
_FIELDS = ("id", "key", "label")


def read_labels(body: bytes, signature: Signature, *, limit: int) -> list[Label]:
    """Return the labels in a body: one object, or an array of them.

    Raises:
        RequestError: 400 where it is no JSON, 413 where there are too many, 422 where some do not fit.
    """
    value = parse(body)
    rows = value if isinstance(value, list) else [value]
    if len(rows) > limit:
        raise too_many_rows(len(rows), limit)
    at = time_ns() // 1000
    labels: list[Label] = []
    problems: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        found = _problems(row, signature)
        problems += [{"row": number, **problem} for problem in found]
        if len(problems) >= MAX_PROBLEMS:
            break
        if not found:
            labels.append(Label(at, _label(row["label"], signature)[0], row.get("id"), row.get("key")))
    if problems:
        message = f"{len(problems)} value{'s do' if len(problems) > 1 else ' does'} not fit what feedback takes"
        raise RequestError(status=422, message=message, problems=problems[:MAX_PROBLEMS])
    return labels


def _problems(row: Any, signature: Signature) -> list[dict[str, Any]]:
    if not isinstance(row, dict):
        return [{"field": None, "found": shown(row), "wanted": 'an object such as {"id": "pred-…", "label": …}'}]
    unknown = [name for name in row if name not in _FIELDS]
    problems = [{"field": name, "found": "an unknown field", "wanted": nearest(name, _FIELDS)} for name in unknown]
    name, key = row.get("id"), row.get("key")
    if (name is None) == (key is None):
        found = "nothing" if name is None else "both id and key"
        problems.append({"field": "id", "found": found, "wanted": "the id of a prediction, or the key of an entity"})
    elif name is not None:
        try:
            time_of(name if isinstance(name, str) else "")
        except ValueError:
            problems.append({"field": "id", "found": shown(name), "wanted": "an id that POST /predict gave"})
    elif signature.roles.key is None:
        problems.append({"field": "key", "found": shown(key), "wanted": "an id: this model's rows have no key"})
    elif isinstance(key, bool | float | dict | list) or (isinstance(key, int) and not -(2**63) <= key < 2**63):
        problems.append({"field": "key", "found": shown(key), "wanted": f"a value of {signature.roles.key}"})
    if "label" not in row:
        problems.append({"field": "label", "found": "nothing", "wanted": _wanted(signature)})
    elif not _label(row["label"], signature)[1]:
        problems.append({"field": "label", "found": shown(row["label"]), "wanted": _wanted(signature)})
    return problems


def _label(value: Any, signature: Signature) -> tuple[Any, bool]:
    """Return a label as the model knows it, and whether it does."""
    if signature.judged_as == "values":
        fits = isinstance(value, bool | int | float | str) and (not isinstance(value, int) or abs(value) < 1 << 63)
        return (value, True) if fits else (None, False)
    if signature.judged_as == "regression":
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e308
        return (float(value), True) if fits else (None, False)
    for known in signature.classes:
        if value == known and (type(value) is type(known) or not isinstance(value, str)):
            return known, True
    return None, False


def _wanted(signature: Signature) -> str:
    if signature.judged_as == "values":
        return "a number, a text, true or false"
    if signature.judged_as == "regression":
        return "a number"
    shown_classes = [msgspec.json.encode(each).decode() for each in signature.classes[:12]]
    return f"one of {', '.join(shown_classes)}{', …' if len(signature.classes) > 12 else ''}"


class FeedbackLog:
    """Writes labels and waits for the disk; those that arrive meanwhile share the next wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop, journal: Journal, counters: Counters) -> None:
        self._loop, self._journal, self._counters = loop, journal, counters
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="feedback")
        self._waiting: list[tuple[list[Label], asyncio.Future[str]]] = []
        self._is_busy = False

    def keep(self, labels: list[Label]) -> asyncio.Future[str]:
        """Return what will be empty when the labels are on the disk, or the reason why they cannot be."""
        done: asyncio.Future[str] = self._loop.create_future()
        self._waiting.append((labels, done))
        if not self._is_busy:
            self._start()
        return done

    def tend(self) -> None:
        """Finish a part that is old, unless it is being written to."""
        if not self._is_busy:
            self._journal.close_if_old()

    def close(self) -> None:
        """Finish the part, after what is being written."""
        self._pool.shutdown(wait=True)
        self._journal.close()

    def _start(self) -> None:
        taken, self._waiting = self._waiting, []
        self._is_busy = True
        labels = [label for each, _ in taken for label in each]
        running = self._loop.run_in_executor(self._pool, self._write, labels)
        running.add_done_callback(lambda future: self._finished(taken, future.result()))

    def _write(self, labels: list[Label]) -> str:
        try:
            self._journal.write(b"".join([msgspec.json.encode(label) + b"\n" for label in labels]))
            self._journal.sync()
        except OSError as error:
            LOG.error("feedback cannot be kept: %s", error)
            return str(error)
        return ""

    def _finished(self, taken: list[tuple[list[Label], asyncio.Future[str]]], reason: str) -> None:
        self._is_busy = False
        count = sum(len(labels) for labels, _ in taken)
        self._counters.add("log_failures" if reason else "feedback", count)
        for _, done in taken:
            if not done.done():
                done.set_result(reason)
        if self._waiting:
            self._start()

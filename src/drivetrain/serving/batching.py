"""Micro-batches: rows that arrive together are answered together, and each client still gets an answer of its own."""

from __future__ import annotations

import logging
from time import time_ns
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.errors import RequestError
from drivetrain.serving.cache.entry import entries_of
from drivetrain.serving.journal import Line
from drivetrain.serving.live import picked
from drivetrain.store.record import new_id
from drivetrain.training.trace import Trace, of_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.serving.answers import Answers
    from drivetrain.serving.live import Arm, Live, Share
    from drivetrain.serving.requests import Row

LOG = logging.getLogger("drivetrain.serving")

_ENCODER = msgspec.json.Encoder()


class Failure(msgspec.Struct, frozen=True):
    """Why a request got no prediction: a status, what to tell the client, and the id under which the log has more.

    After `retry_after_s` a request that was turned away (503) would find room. `cause` is the error in which a model
    refused the request itself.
    """

    status: int
    message: str
    error_id: str = ""
    retry_after_s: int = 1
    cause: RequestError | None = None

    def error(self) -> RequestError:
        """Return it as the error that it is to the client."""
        return self.cause or RequestError(
            status=self.status, message=self.message, error_id=self.error_id, retry_after_s=self.retry_after_s
        )


class Reply(msgspec.Struct, frozen=True):
    """What the rows of a request were answered, in their order, for protocols that write it down in their own form.

    `versions` are ids such as `lateness@3`, one a row: a request may be answered by both arms. `probabilities` are
    there for several classes, in the order of `classes`. `entries` are what a cache keeps of each row, and stand alone.
    """

    ids: list[str]
    versions: list[str]
    predictions: list[Any]
    probabilities: list[list[float]] | None = None
    classes: list[Any] = []
    entries: list[bytes] = []


# How a request wants its reply: as the JSON text of one answer, as that of an array of them, as values, or as what a
# cache keeps.
Form = Literal["one", "many", "values", "entries"]


class Batch:
    """Rows of one or more requests, for the versions that were live when they came."""

    __slots__ = ("ends", "forms", "live", "names", "rows", "texts", "traces")

    def __init__(self, live: Live) -> None:
        self.live = live
        self.rows: list[Row] = []
        self.texts: list[msgspec.Raw] = []
        # For each request: where its rows end, and how it wants its reply.
        self.ends: list[int] = []
        self.forms: list[Form] = []
        self.names: list[str] = []
        # By the places of rows, where their client has begun a trace.
        self.traces: dict[int, Trace] = {}

    def add(self, rows: Sequence[Row], texts: Sequence[msgspec.Raw], form: Form, trace: Trace | None = None) -> None:
        """Take a request in, and the trace that it belongs to."""
        if trace is not None:
            begin = len(self.rows)
            self.traces |= dict.fromkeys(range(begin, begin + len(rows)), trace)
        self.rows.extend(rows)
        self.texts.extend(texts)
        self.ends.append(len(self.rows))
        self.forms.append(form)


class Answered(msgspec.Struct, frozen=True):
    """The rows of one arm, by their places in the batch, and what its version answered."""

    arm: str
    predictor: Arm
    places: Sequence[int]
    answers: Answers


def answered(batch: Batch, max_batch: int) -> tuple[list[Answered], dict[int, Failure]]:
    """Return what the versions answered to a batch, and the failure of each request that got no answer.

    When the batch as a whole fails, each request is answered alone, so that only the guilty one fails.
    """
    try:
        return _by_arm(batch, range(len(batch.rows)), max_batch), {}
    except Exception as error:  # the model and the features function are the user's, and may raise anything
        if len(batch.ends) == 1:
            return [], {0: failure_of(error, batch.traces.get(0))}
    parts: list[Answered] = []
    failures: dict[int, Failure] = {}
    begin = 0
    for number, end in enumerate(batch.ends):
        try:
            parts += _by_arm(batch, range(begin, end), max_batch)
        except Exception as error:
            failures[number] = failure_of(error, batch.traces.get(begin))
        begin = end
    return parts, failures


def _by_arm(batch: Batch, places: range, max_batch: int) -> list[Answered]:
    shares = batch.live.shares(batch.rows, batch.names, places)
    return [piece for share in shares for piece in _in_pieces(batch, share, max_batch)]


def _in_pieces(batch: Batch, share: Share, max_batch: int) -> list[Answered]:
    arm, predictor, places, columns = share
    if len(places) == len(batch.rows) <= max_batch:
        return [Answered(arm, predictor, places, predictor.answer(picked(batch.rows, columns)))]
    found = []
    for begin in range(0, len(places), max_batch):
        piece = places[begin : begin + max_batch]
        rows = picked([batch.rows[place] for place in piece], columns)
        found.append(Answered(arm, predictor, piece, predictor.answer(rows)))
    return found


def failure_of(error: Exception, trace: Trace | None) -> Failure:
    """Return what a client is told of an error, and log one that is not the client's own, with its trace."""
    if isinstance(error, RequestError):  # the model says itself what is wrong with a request
        return Failure(error.status, error.message, error.error_id, error.retry_after_s, error)
    error_id = new_id("error")
    LOG.error("%s: a request could not be answered%s", error_id, of_trace(trace), exc_info=error)
    return Failure(500, f"the model failed on this request; the server's log has more under {error_id}", error_id)


def lines_of(batch: Batch, parts: list[Answered]) -> bytes:
    """Return the lines of the log for what was answered, one a version."""
    return b"".join([_ENCODER.encode(line_of(batch, part)) + b"\n" for part in parts])


def line_of(batch: Batch, part: Answered) -> Line:
    """Return the line of the log for the rows of one arm."""
    whole = len(part.places) == len(batch.rows)
    names = batch.names if whole else [batch.names[place] for place in part.places]
    texts = batch.texts if whole else [batch.texts[place] for place in part.places]
    place = batch.live.key_place
    keys = None if place is None else [batch.rows[each][place] for each in part.places]
    line = line_for(part.predictor.version.id, part.arm, names, keys, texts, part.answers)
    if batch.traces:
        traces = [batch.traces.get(each) for each in part.places]
        line = msgspec.structs.replace(line, traces=[each.id if each else "" for each in traces])
    return line


def line_for(
    version: str, arm: str, names: list[str], keys: list[Any] | None, texts: list[msgspec.Raw], answers: Answers
) -> Line:
    """Return the line of the log for rows that a version has answered just now."""
    seen = answers.features
    return Line(
        time_ns() // 1000,
        version,
        arm,
        names,
        keys,
        texts,
        answers.predictions if answers.logged is None else answers.logged,
        answers.probabilities,
        seen if seen is None or isinstance(seen, dict) else seen.to_dict(as_series=False),
        calls=answers.calls,
    )


def class_names(classes: Sequence[Any]) -> list[str]:
    """Return classes as the names of an object's fields.

    >>> class_names(["late", 2, True])
    ['late', '2', 'true']
    """
    return [each if isinstance(each, str) else _json(each) for each in classes]


def _json(value: Any) -> str:
    return _ENCODER.encode(value).decode()


def replies(batch: Batch, parts: list[Answered], failures: dict[int, Failure]) -> list[str | Reply | Failure]:
    """Return what each request is told, in the form that it asked for, or its failure."""
    forms = batch.forms
    if len(forms) == len(batch.rows) and not failures and forms.count("one") == len(forms):
        return _texts(batch, parts)  # type: ignore[return-value]  # a list of texts is one of all that a reply may be
    if forms[0] == "entries":  # of a service that caches, and then all are
        return _entries(batch, parts, failures)
    told = _texts(batch, parts) if forms.count("values") < len(forms) else []
    values = _values(batch, parts) if "values" in forms else []
    bodies: list[str | Reply | Failure] = []
    begin = 0
    for number, (end, form) in enumerate(zip(batch.ends, forms, strict=True)):
        if number in failures:
            bodies.append(failures[number])
        elif form == "one":
            bodies.append(told[begin])
        elif form == "many":
            bodies.append(f'{{"predictions":[{",".join(told[begin:end])}]}}')
        else:
            bodies.append(_reply(batch.names[begin:end], values[begin:end]))
        begin = end
    return bodies


def _entries(batch: Batch, parts: list[Answered], failures: dict[int, Failure]) -> list[str | Reply | Failure]:
    found: list[bytes] = [b""] * len(batch.rows)
    for part in parts:
        for place, entry in zip(part.places, entries_of(part.answers), strict=True):
            found[place] = entry
    begins = [0, *batch.ends[:-1]]
    return [
        failures.get(number) or Reply([], [], [], entries=found[begin:end])
        for number, (begin, end) in enumerate(zip(begins, batch.ends, strict=True))
    ]


def _texts(batch: Batch, parts: list[Answered]) -> list[str]:
    told: list[str] = [""] * len(batch.rows)
    for part in parts:
        start = f'","version":{_json(part.predictor.version.id)},"prediction":'
        values = part.answers.predictions
        if part.answers.probabilities is not None:
            classes = class_names(part.predictor.classes)
            for place, value, shares in zip(part.places, values, part.answers.probabilities, strict=True):
                shown = _json(dict(zip(classes, shares, strict=True)))
                told[place] = f'{{"id":"{batch.names[place]}{start}{_json(value)},"probabilities":{shown}}}'
        elif part.predictor.version.signature.task == "values":
            for place, value in zip(part.places, values, strict=True):
                told[place] = f'{{"id":"{batch.names[place]}{start}{_json(value)}}}'
        else:
            for place, value in zip(part.places, values, strict=True):
                # Python writes finite floats as JSON does.
                told[place] = f'{{"id":"{batch.names[place]}{start}{value!r}}}'
    return told


def _values(batch: Batch, parts: list[Answered]) -> list[tuple[Arm, Any, list[float] | None]]:
    """Return for each row who answered it, and what; rows whose request failed have nobody."""
    found: list[Any] = [None] * len(batch.rows)
    for part in parts:
        shares: Sequence[Any] = part.answers.probabilities or [None] * len(part.places)
        for place, value, share in zip(part.places, part.answers.predictions, shares, strict=True):
            found[place] = (part.predictor, value, share)
    return found


def _reply(names: list[str], values: list[tuple[Arm, Any, list[float] | None]]) -> Reply:
    if not values:
        return Reply([], [], [])
    predictors, predictions, shares = zip(*values, strict=True)
    has_shares = shares[0] is not None
    return Reply(
        names,
        [each.version.id for each in predictors],
        list(predictions),
        [share or [] for share in shares] if has_shares else None,
        predictors[0].classes if has_shares else [],
    )

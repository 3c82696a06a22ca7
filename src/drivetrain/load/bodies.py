"""What requests say: rows of a dataset, examples of a server's description, a file, or what a service was asked."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import msgspec

from drivetrain.errors import NotFound, RequestError, UsageError, nearest
from drivetrain.pipeline.run import StepRun
from drivetrain.serving.journal import Line
from drivetrain.serving.requests import reader_for
from drivetrain.store.store import Store

if TYPE_CHECKING:
    import polars as pl

    from drivetrain.load.plan import Target
    from drivetrain.registry.version import Signature, Version

# So many different rows are sent in turn: a server that remembers answers gains little.
ROWS = 256
_DESCRIPTION_S = 10
# As much is shown of what a server says where it has no description.
_SAID_BYTES = 300


class Recording(NamedTuple):
    """Requests in the order in which they came, and when each did, in seconds since any moment."""

    bodies: list[bytes]
    moments: list[float]


def bodies_of(rows: pl.DataFrame, signature: Signature) -> list[bytes]:
    """Return requests for some of a dataset's rows, drawn the same way each time."""
    chosen = rows.select(column.name for column in signature.request if column.name in rows.columns)
    chosen = chosen.sample(min(ROWS, len(chosen)), seed=1)
    return [msgspec.json.encode(row) for row in chosen.iter_rows(named=True)]


def bodies_of_version(store: Store, version: Version) -> list[bytes]:
    """Return requests for rows of the dataset that a version was trained on.

    Raises:
        NotFound: the dataset's table is no longer kept.
    """
    trained = store.ledger.get(StepRun, version.run, version.dataset)
    artifact = trained.outputs.get(version.dataset) if trained else None
    if artifact is None or not store.artifacts.has(artifact.digest):
        raise NotFound(kind="table", name=version.dataset, remedy="give requests with --body FILE or --replay")
    import polars as pl

    return bodies_of(store.value(artifact, pl.DataFrame), version.signature)


def bodies_in(path: Path) -> list[bytes]:
    """Return the requests in a file: one a line in .ndjson and .jsonl, and the whole of any other.

    Raises:
        UsageError: it is empty, or cannot be read.
    """
    data = _bytes(path)
    found = [line for line in data.splitlines() if line.strip()] if path.suffix in (".ndjson", ".jsonl") else [data]
    if not found or not found[0]:
        raise UsageError(f"{path} is empty", remedy="write a request into it, or one a line into an .ndjson file")
    return found


def examples_of(target: Target) -> list[bytes]:
    """Return the examples in the server's own OpenAPI description; of one row, where it tells them apart.

    Raises:
        UsageError: it has no description, or that has no example for this path.
    """
    if target.method not in ("POST", "PUT", "PATCH"):
        return [b""]
    path = urlsplit(target.url).path
    reasons = []
    known: dict[str, list[Any]] = {}
    # A service that stands below a path has its description there, and not at the root.
    for folder in [path[:end] for end, letter in enumerate(path) if letter == "/"] or [""]:
        found, reason = _described(target, folder)
        if path in found:
            return [msgspec.json.encode(found[path][0])]
        known |= found
        reasons.append(reason)
    body = "give the request with --body FILE"
    raise UsageError("; ".join(reasons), remedy=f"{nearest(path, known)} Else {body}" if known else body)


def _described(target: Target, folder: str) -> tuple[dict[str, list[Any]], str]:
    """Return the examples for each path in the description in a folder of the server, and what is said without one.

    Raises:
        UsageError: the server does not answer.
    """
    where = urljoin(target.url, f"{folder}/openapi.json")
    path = urlsplit(target.url).path.removeprefix(folder)
    unknown = f"{where} has no example of a request to {path}"
    try:
        request = urllib.request.Request(where, headers=target.headers)  # noqa: S310  # the user's own URL, checked
        with urllib.request.urlopen(request, timeout=_DESCRIPTION_S) as answer:  # noqa: S310
            paths = json.load(answer)["paths"]
        found = {f"{folder}{each}": _examples(paths[each].get(target.method.lower(), {})) for each in paths}
        return {each: examples for each, examples in found.items() if examples}, unknown
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(_SAID_BYTES).decode(errors="replace")
        return {}, f"{where} answers {error.code}: {said}"
    except OSError as error:
        raise UsageError(f"{where} does not answer: {error}", remedy="start the server, or mend --url") from error
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}, unknown


def _examples(operation: Any) -> list[Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    named = [each["value"] for each in content.get("examples", {}).values() if "value" in each]
    alone = [each["example"] for each in (content, schema) if "example" in each]
    return [*named, *alone, *schema.get("examples", [])]


def recorded_by(store: Store, service: str) -> Recording:
    """Return what a service was asked, row by row, from its log.

    Raises:
        NotFound: nothing is in the log of a service of that name.
    """
    from drivetrain.serving.log import Cursor, read_new

    frame, _ = read_new(store, service, Cursor())
    if frame.is_empty():
        known = [folder.name for folder in (store.root / "serving").glob("*") if folder.is_dir()]
        remedy = "" if known else "it has been asked nothing yet: `drivetrain serve` answers requests, and keeps them"
        raise NotFound(kind="request to the service", name=service, known=known, remedy=remedy)
    frame = frame.sort("at", "id", maintain_order=True)
    moments = (frame["at"].dt.epoch("us") / 1e6).to_list()
    return Recording([msgspec.json.encode(row) for row in frame["request"]], moments)


def recent_bodies(store: Store, service: str, signature: Signature) -> list[bytes]:
    """Return what a service was asked of late, as far as this signature still takes it; empty where its log has none.

    What the log has by its digest alone, such as images, cannot be asked again.
    """
    from drivetrain.serving.log import Cursor, Segment, read_new

    where = {"service": service, "kind": "predictions"}
    newest = store.ledger.find(Segment, where, order="-number", limit=1)
    frame, _ = read_new(store, service, Cursor(newest[0].number - 1) if newest else Cursor())
    if frame.is_empty():
        return []
    reader, found = reader_for(signature), []
    for row in frame.sort("at", maintain_order=True)["request"].tail(ROWS):
        body = msgspec.json.encode(row)
        try:
            reader.one(body)
        except RequestError:
            continue
        found.append(body)
    return found


class _Asked(msgspec.Struct):
    """A line of a recording that others have made: `at` in seconds, and the body."""

    at: float
    body: msgspec.Raw


def recorded_in(path: Path) -> Recording:
    """Return the requests in a file, a line each: `{"at": SECONDS, "body": …}`, or a part of a service's log.

    Raises:
        UsageError: a line is neither.
    """
    bodies: list[bytes] = []
    moments: list[float] = []
    for number, text in enumerate(_bytes(path).splitlines(), 1):
        try:
            asked = msgspec.json.decode(text, type=_Asked)
            bodies.append(bytes(asked.body))
            moments.append(asked.at)
            continue
        except msgspec.MsgspecError:
            pass
        try:
            line = msgspec.json.decode(text, type=Line)
        except msgspec.MsgspecError as error:
            raise UsageError(
                f"{path}:{number} is no recorded request: {error}",
                remedy='write lines such as {"at": 12.5, "body": {"x": 1}}, with `at` in seconds',
            ) from error
        bodies += [msgspec.json.encode(row) for row in line.requests]
        moments += [line.at / 1e6] * len(line.requests)
    if not bodies:
        raise UsageError(f"{path} is empty", remedy='write lines such as {"at": 12.5, "body": {"x": 1}} into it')
    order = sorted(range(len(moments)), key=moments.__getitem__)
    return Recording([bodies[place] for place in order], [moments[place] for place in order])


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="name a file of requests") from error

"""The media types of the rows that a service reads, and the one that its answer gets."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What a body of each type is. The first name of a kind is the one that answers bear.
TYPES = {
    "application/vnd.apache.arrow.stream": "arrow stream",
    "application/vnd.apache.arrow.file": "arrow file",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "text/csv": "csv",
    "application/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/json": "json",
}
NAMES = {kind: name for name, kind in reversed(TYPES.items())}
# What stands there where a client names no type: nothing, or what `curl -d` writes.
UNNAMED = ("", "application/x-www-form-urlencoded")


def kind_of(content_type: str) -> str:
    """Return what a body of a type is; empty where the type is not one of ours.

    >>> kind_of("text/csv; charset=utf-8")
    'csv'
    """
    return TYPES.get(content_type.partition(";")[0].strip().lower(), "")


def right_type(content_type: str, takes: Sequence[str]) -> str:
    """Return what to say of a body whose type is none of those that are read; images only to who sends one.

    >>> right_type("application/x-www-form-urlencoded", ["application/json", "text/csv"])
    "send JSON with `Content-Type: application/json` (curl -H 'content-type: application/json'), or text/csv"
    >>> right_type("text/plain", ["text/csv"])
    "send a body of the type text/csv, not 'text/plain'"
    >>> right_type("text/plain", ["text/csv", "application/x-ndjson", "image/png"])
    "send a body of the type text/csv or application/x-ndjson, not 'text/plain'"
    >>> right_type("image/gif", ["text/csv", "image/png"])
    "send a body of the type text/csv or image/png, not 'image/gif'"
    """
    is_image = content_type.startswith("image/")
    names = [name for name in takes if name not in UNNAMED and (is_image or not name.startswith("image/"))]
    # Of a kind with several names, the first.
    shown = [name for name in names if name not in TYPES or name in {*NAMES.values()} - {NAMES["json"]}]
    others = " or ".join(part for part in (", ".join(shown[:-1]), *shown[-1:]) if part)
    found = f", not {content_type[:60]!r}" if content_type else ", as the request does not name a type"
    if "application/json" not in names:
        return f"send a body of the type {others}{found}"
    if content_type in UNNAMED:
        found = " (curl -H 'content-type: application/json')"
    return f"send JSON with `Content-Type: application/json`{found}" + (f", or {others}" if others else "")


def answer_kind(accepted: str, kind: str) -> str:
    """Return the form of the answer to a body of some kind: the first that the client names, else the body's own.

    >>> answer_kind("*/*", "csv"), answer_kind("text/html, application/json;q=0.9", "csv")
    ('csv', 'json')
    """
    weighed = []
    for place, each in enumerate(accepted.lower().split(",")):
        name, _, weight = each.partition(";")
        try:
            share = float(weight.replace(" ", "").removeprefix("q=")) if "q=" in weight else 1.0
        except ValueError:
            share = 0.0
        if share > 0 and name.strip() in TYPES:
            weighed.append((-share, place, TYPES[name.strip()]))
    return min(weighed)[2] if weighed else kind


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return plain rows as CSV, with a first line of names.

    >>> as_csv([{"stops": 2, "is_new": True, "wind": None}]).splitlines()
    ['stops,is_new,wind', '2,true,']
    """
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in row.values()])
    return target.getvalue()

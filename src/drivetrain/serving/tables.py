"""Many rows as a table: Arrow, Parquet, CSV and lines of JSON, read from a request and written as its answer."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from drivetrain.data.kinds.kind import KINDS
from drivetrain.errors import RequestError
from drivetrain.serving.fit import endless, fit, fitted, strangers
from drivetrain.serving.requests import MAX_PROBLEMS, too_many_rows, unfit
from drivetrain.serving.unpack import Unpacker

if TYPE_CHECKING:
    from drivetrain.registry.version import Signature
    from drivetrain.serving.batching import Reply
    from drivetrain.serving.requests import Reader, Row
    from drivetrain.serving.service import Terms


class Tables:
    """Reads tables of rows; for threads, since a large one takes longer than a loop can spare."""

    def __init__(self, terms: Terms) -> None:
        self._max_rows = terms.max_rows
        # Of their own: where tables wait for each other, nothing else waits for them.
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="tables")
        self._unpacker = Unpacker(
            max_rows=terms.max_rows, max_body_bytes=terms.max_body_bytes, timeout_s=terms.timeout_s
        )

    def close(self) -> None:
        """End the process that unpacks tables."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self._unpacker.close()

    def read(self, reader: Reader, body: bytes, kind: str) -> tuple[list[Row], list[msgspec.Raw] | None]:
        """Return the rows of a body of some kind, and their texts where they came as such.

        Raises:
            RequestError: 400, it cannot be read; 413, it is too large; 422, something in it does not fit.
        """
        if kind == "ndjson":
            return _from_lines(reader, body, self._max_rows)
        special = [column.name for column in reader.columns if column.kind in KINDS]
        if special:
            message = f"{', '.join(special)} is more than a column of a table: send JSON, or lines of it"
            raise RequestError(status=415, message=message)
        frame = from_csv(body, reader, self._max_rows) if kind == "csv" else self._unpacker.read(body, kind)
        return rows_of(reader, frame), None


def rows_of(reader: Reader, frame: pl.DataFrame) -> list[Row]:
    """Return the rows of a table; NaN is null where null may be.

    Raises:
        RequestError: 422, a column or a value does not fit; all problems are named.
    """
    found = fitted(reader, frame)
    problems = list(islice(endless(reader, found), MAX_PROBLEMS + 1))
    if problems:
        raise unfit(problems[:MAX_PROBLEMS], more=len(problems) > MAX_PROBLEMS)
    try:
        return found.fill_nan(None).rows()
    except (pl.exceptions.PanicException, ValueError, OverflowError) as error:  # a day that no calendar has
        raise RequestError(status=400, message=f"the table holds a value that cannot be read: {error}") from None


def from_csv(body: bytes, reader: Reader, limit: int) -> pl.DataFrame:
    """Return the table of a CSV body whose first line has the names; an empty field is null.

    Raises:
        RequestError: 400, it cannot be read; 413, it has more than `limit` rows; 422, a value is not of its column.
    """
    try:
        if not body.decode().strip():
            raise RequestError(status=400, message="the body is empty: the first line of a CSV body has the names")
    except UnicodeDecodeError as error:
        raise RequestError(status=400, message=f"the body is not UTF-8 (byte {error.start})") from None
    try:
        texts = pl.read_csv(body, infer_schema=False, n_rows=limit + 1, raise_if_empty=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error) or "it is cut off").splitlines()[0][:200]
        raise RequestError(status=400, message=f"the body cannot be read as CSV: {reason}") from None
    if texts.height > limit:
        raise too_many_rows(_lines(body), limit)
    found = fit(reader, texts, text=reader.names)
    problems = [*strangers(reader, texts.columns), *found.problems]
    if problems:
        raise unfit(problems[:MAX_PROBLEMS], more=len(problems) > MAX_PROBLEMS)
    return found.frame


def _lines(body: bytes) -> int:
    return max(0, len(body.splitlines()) - 1)


def _from_lines(reader: Reader, body: bytes, limit: int) -> tuple[list[Row], list[msgspec.Raw]]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > limit:
        raise too_many_rows(len(lines), limit)
    rows, texts = reader.many(b"[%b]" % b",".join(lines), limit=limit)
    if len(rows) != len(lines):
        message = f"the body has {len(lines):,} lines and {len(rows):,} objects; it takes one on each line"
        raise RequestError(status=400, message=message)
    return rows, texts


def written(reply: Reply, signature: Signature, kind: str) -> bytes:
    """Return what the rows were answered as a table of some kind: `id`, `version`, `prediction`, `probabilities`.

    What a model of your own gives is told as JSON. In CSV the probability of each class is a column of its own,
    `probability_CLASS`.
    """
    frame = answered(reply, signature)
    target = io.BytesIO()
    if kind == "csv":
        if "probabilities" in frame.columns:
            shares = frame["probabilities"].struct.unnest()
            frame = frame.drop("probabilities").hstack(shares.rename(lambda name: f"probability_{name}"))
        frame.write_csv(target)
    elif kind == "ndjson":
        frame.write_ndjson(target)
    elif kind == "parquet":
        frame.write_parquet(target)
    elif kind == "arrow file":
        frame.write_ipc(target)
    else:
        frame.write_ipc_stream(target)
    return target.getvalue()


def answered(reply: Reply, signature: Signature) -> pl.DataFrame:
    """Return what the rows were answered as a frame."""
    values: list[Any] = reply.predictions
    dtype: pl.DataType = pl.Float64()
    if signature.task == "multiclass":
        dtype = pl.Series(signature.classes).dtype
    elif signature.task == "values":  # of any kind, and so told as JSON
        values, dtype = [msgspec.json.encode(each).decode() for each in values], pl.String()
    columns: dict[str, Any] = {
        "id": pl.Series(reply.ids, dtype=pl.String),
        "version": pl.Series(reply.versions, dtype=pl.String),
        "prediction": pl.Series(values, dtype=dtype),
    }
    if signature.task == "multiclass":
        schema = {str(each): pl.Float64 for each in signature.classes}
        columns["probabilities"] = pl.DataFrame(reply.probabilities or [], schema, orient="row").to_struct()
    return pl.DataFrame(columns)

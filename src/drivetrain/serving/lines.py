"""The lines of the log as tables, in the types of the version that answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from drivetrain.data.kinds.kind import KINDS
from drivetrain.registry.version import Version
from drivetrain.serving.journal import Label, Line
from drivetrain.serving.table import exact, times_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.store.store import Store

_AT = pl.Datetime("us", "UTC")
FEEDBACK: dict[str, Any] = {
    "at": _AT,
    "id": pl.String,
    "key": pl.String,
    "label": pl.String,
    "source": pl.String,
    "offset": pl.Int64,
}


def tables_of(
    store: Store, source: str, data: bytes, *, version: str | None = None, start: int = 0
) -> dict[str, pl.DataFrame]:
    """Return the predictions in some lines of a part as a table for each version."""
    columns: dict[str, dict[str, list[Any]]] = {}
    decode = msgspec.json.Decoder(Line).decode
    offset = start
    for text in data.splitlines(keepends=True):
        try:
            line = decode(text)
        except (msgspec.MsgspecError, ValueError):  # what a failing disk left
            line = None
        if line is not None and (version is None or line.version == version):
            _gather(columns.setdefault(line.version, {name: [] for name in _COLUMNS}), line, offset)
        offset += len(text)
    return {name: _table(store, name, source, each) for name, each in columns.items()}


_COLUMNS = (
    "id", "at", "arm", "key", "prediction", "probabilities", "request", "features",
    "stream", "calls", "trace", "offset",
)  # fmt: skip
_CALLS = pl.List(pl.Struct({"service": pl.String, "id": pl.String, "version": pl.String}))
_STREAM = pl.Struct({"how": pl.String, "pieces": pl.Int64, "seconds": pl.Float64, "first_s": pl.Float64})


def _gather(columns: dict[str, list[Any]], line: Line, offset: int) -> None:
    count = len(line.ids)
    columns["id"] += line.ids
    columns["at"] += [line.at] * count
    columns["arm"] += [line.arm] * count
    columns["key"] += [None if key is None else str(key) for key in line.keys] if line.keys else [None] * count
    columns["prediction"] += line.predictions
    columns["probabilities"] += line.probabilities or [None] * count
    columns["request"] += line.requests
    if line.features:
        columns["features"] += [
            dict(zip(line.features, values, strict=True)) for values in zip(*line.features.values(), strict=True)
        ]
    else:
        columns["features"] += [None] * count
    columns["stream"] += [msgspec.to_builtins(each) for each in line.streams] if line.streams else [None] * count
    columns["calls"] += msgspec.to_builtins(line.calls) if line.calls else [None] * count
    columns["trace"] += [each or None for each in line.traces] if line.traces else [None] * count
    columns["offset"] += [offset] * count


def _table(store: Store, version: str, source: str, columns: dict[str, list[Any]]) -> pl.DataFrame:
    known = store.ledger.get(Version, version)
    request = features = time_name = None
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in columns["prediction"])
    if known is not None:
        request, features = known.signature.request, known.signature.features
        time_name = known.signature.roles.time
        is_number = known.signature.is_numeric
    requests = _rows(columns["request"], request)
    has_features = any(row is not None for row in columns["features"])
    seen = _rows(columns["features"], features) if has_features else None
    predictions = [
        float(value) if is_number else value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for value in columns["prediction"]
    ]
    time = requests[time_name] if time_name and time_name in requests.columns else None
    if time is None or time.dtype.base_type() not in (pl.Datetime, pl.Date):
        time = pl.Series([None] * len(requests), dtype=_AT)
    elif isinstance(time.dtype, pl.Datetime) and time.dtype.time_zone:
        time = time.dt.convert_time_zone("UTC").cast(_AT)
    else:
        time = time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if seen is None:  # the model took the request as it was
        names = [column.name for column in features or [] if column.name in requests.columns]
        seen = requests.select(names) if names else requests
    has_streams = any(each is not None for each in columns["stream"])
    more = {"stream": pl.Series(columns["stream"], dtype=_STREAM)} if has_streams else {}
    if any(each is not None for each in columns["calls"]):
        more["calls"] = pl.Series(columns["calls"], dtype=_CALLS)
    if any(columns["trace"]):
        more["trace"] = pl.Series(columns["trace"], dtype=pl.String)
    return pl.DataFrame(
        {
            "id": pl.Series(columns["id"], dtype=pl.String),
            "at": pl.Series(columns["at"], dtype=pl.Int64).cast(_AT),
            "version": pl.repeat(version, len(requests), dtype=pl.String, eager=True),
            "arm": pl.Series(columns["arm"], dtype=pl.String),
            "key": pl.Series(columns["key"], dtype=pl.String),
            "time": time,
            "prediction": pl.Series(predictions, dtype=pl.Float64 if is_number else pl.String),
            "probabilities": pl.Series(columns["probabilities"], dtype=pl.List(pl.Float64)),
            "request": requests.to_struct(),
            "features": seen.to_struct(),
            **more,
            "source": pl.repeat(source, len(requests), dtype=pl.String, eager=True),
            "offset": pl.Series(columns["offset"], dtype=pl.Int64),
        }
    )


def _rows(rows: list[dict[str, Any] | None], columns: Sequence[Any] | None) -> pl.DataFrame:
    """Return objects as a table with the exact types of the signature; times are read from their text."""
    plain = [row or {} for row in rows]
    if columns is None:
        return pl.DataFrame(plain, infer_schema_length=None)
    found = []
    for column in columns:
        values = [row.get(column.name) for row in plain]
        dtype = exact(column)
        if column.kind in KINDS:  # of any form: kept as JSON
            texts = [None if value is None else msgspec.json.encode(value).decode() for value in values]
            series = pl.Series(column.name, texts, dtype=pl.String)
        elif column.kind in ("date", "datetime"):
            series = times_read(pl.Series(column.name, values, dtype=pl.String), dtype)
        else:
            series = pl.Series(column.name, values, dtype=dtype, strict=False)
        found.append(series)
    return pl.DataFrame(found)


def labels_of(source: str, data: bytes, start: int = 0) -> pl.DataFrame:
    """Return the labels in some lines of a part."""
    rows = []
    offset = start
    for text in data.splitlines(keepends=True):
        try:
            label = msgspec.json.decode(text, type=Label)
            key = None if label.key is None else str(label.key)
            rows.append((label.at, label.id, key, msgspec.json.encode(label.label).decode(), source, offset))
        except (msgspec.MsgspecError, ValueError):
            pass
        offset += len(text)
    frame = pl.DataFrame(rows, schema=FEEDBACK | {"at": pl.Int64}, orient="row")
    return frame.with_columns(pl.col("at").cast(_AT))


def joined(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return tables of several versions as one; a struct has the fields of all."""
    if not frames:
        return pl.DataFrame(schema=EMPTY)
    if len({tuple(frame.schema.items()) for frame in frames}) == 1:
        return pl.concat(frames)
    whole = []
    for name in ("request", "features"):
        parts = [frame[name].struct.unnest() for frame in frames]
        whole.append(pl.concat(parts, how="diagonal_relaxed").to_struct(name))
    rest = pl.concat([frame.drop("request", "features") for frame in frames], how="diagonal_relaxed")
    found = rest.with_columns(*whole)
    return found.select([*EMPTY, *(name for name in ("stream", "calls", "trace") if name in found.columns)])


EMPTY: dict[str, Any] = {
    "id": pl.String, "at": _AT, "version": pl.String, "arm": pl.String, "key": pl.String, "time": _AT,
    "prediction": pl.Float64, "probabilities": pl.List(pl.Float64), "request": pl.Struct({}), "features": pl.Struct({}),
    "source": pl.String, "offset": pl.Int64,
}  # fmt: skip

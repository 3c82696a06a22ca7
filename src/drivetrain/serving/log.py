"""The prediction log, read: what was answered and what turned out to be true, sealed and not yet sealed alike."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
import polars as pl

from drivetrain.errors import NotFound
from drivetrain.registry.version import Version
from drivetrain.serving.answers import Called
from drivetrain.serving.journal import folder_of, time_of
from drivetrain.serving.lines import FEEDBACK, joined, labels_of, tables_of
from drivetrain.store.artifact import Artifact
from drivetrain.store.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from drivetrain.store.store import Store

Kind = Literal["predictions", "feedback"]


class Segment(Record, frozen=True, kw_only=True):
    """Sealed lines of the log as one Parquet table: the rows of one version, or labels, from one worker's part.

    `number` counts the segments of a service; `source` is the name of the part, whose lines are in segments from the
    moment that these are recorded, whether the file is still there or not.
    """

    TABLE: ClassVar[str] = "segment"
    KEY: ClassVar[tuple[str, ...]] = ("service", "source", "version")
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("service", "number"), ("first_id",))

    service: str
    source: str
    # Empty for feedback.
    version: str
    kind: Kind
    number: int
    artifact: Artifact
    rows: int
    first_id: str
    last_id: str
    first_at: datetime
    last_at: datetime
    # By the data's own time, where rows have one.
    first_time: datetime | None = None
    last_time: datetime | None = None


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: what was asked, what was seen, what was said, by which version and when."""

    id: str
    service: str
    at: datetime
    version: str
    arm: str
    key: Any = None
    time: datetime | None = None
    prediction: Any
    request: dict[str, Any]
    features: dict[str, Any] = {}
    # The newest label that was sent for it, if any, and when that arrived by the clock.
    label: Any = None
    labelled_at: datetime | None = None
    # The predictions of other services that it was made of.
    calls: list[Called] = []
    # The id of the trace that its client has begun, if any.
    trace: str = ""


class Cursor(msgspec.Struct, frozen=True):
    """How far a reader has come: the last segment's number, and the bytes of each part that is not sealed yet."""

    number: int = 0
    offsets: dict[str, int] = {}


def read_new(store: Store, service: str, cursor: Cursor, *, kind: Kind = "predictions") -> tuple[pl.DataFrame, Cursor]:
    """Return the rows of the log that came after a cursor, and the cursor after them: each row is given once.

    Predictions have the columns id, at, version, arm, key, time, prediction, probabilities, request and features.
    `key` is text. `prediction` is a number, or text where classes are predicted. `request` and `features` are structs;
    where versions differ, with the fields of all of them. `calls` is there where predictions of other services stand
    behind, and `trace` where clients have begun traces. Feedback has the columns of `read_feedback`.
    """
    parts = _open_parts(store, service, kind, cursor.offsets)
    found = store.ledger.find(Segment, {"service": service, "number >": cursor.number}, order="number")
    offsets = dict(cursor.offsets)
    frames = []
    for segment in found:
        if segment.kind == kind:
            frame = pl.read_parquet(store.artifacts.path(segment.artifact.digest))
            frames.append(frame.filter(pl.col("offset") >= cursor.offsets.get(segment.source, 0)))
            offsets.pop(segment.source, None)
    sealed = _sealed(store, service, parts) | {segment.source for segment in found}
    for name, data in parts.items():
        if name in sealed:  # perhaps in this very moment: then the next call finds its segments
            continue
        start = cursor.offsets.get(name, 0)
        offsets[name] = start + len(data)
        if kind == "predictions":
            frames += tables_of(store, name, data, start=start).values()
        else:
            frames.append(labels_of(name, data, start))
    number = max([cursor.number, *(segment.number for segment in found)])
    frame = joined(frames) if kind == "predictions" else pl.concat([pl.DataFrame(schema=FEEDBACK), *frames])
    return frame.drop("source", "offset"), Cursor(number, offsets)


def read_feedback(store: Store, service: str) -> pl.DataFrame:
    """Return the labels that were sent, in order: the columns at, id, key and label.

    `key` is text, and `label` is JSON, since it may be a number, a text or a truth value.
    """
    frame, _ = read_new(store, service, Cursor(), kind="feedback")
    return frame.sort("at", maintain_order=True)


def join_labels(predictions: pl.DataFrame, feedback: pl.DataFrame) -> pl.DataFrame:
    """Return the predictions whose label has arrived, with it in the column `label` and when in `labelled_at`.

    A label belongs to the prediction whose id it names, or to all predictions for its key; the latest one counts.
    `label` is a number or a truth value where all labels are, and text otherwise.
    """
    feedback = feedback.with_row_index("turn")
    by_id = feedback.filter(pl.col("id").is_not_null()).unique("id", keep="last", maintain_order=True)
    by_key = feedback.filter(pl.col("key").is_not_null()).unique("key", keep="last", maintain_order=True)
    found = predictions.join(
        by_id.select("id", label_by_id="label", at_by_id="at", turn_by_id="turn"), on="id", how="left"
    ).join(by_key.select("key", label_by_key="label", at_by_key="at", turn_by_key="turn"), on="key", how="left")
    is_by_id = pl.col("turn_by_id").fill_null(-1).cast(pl.Int64) >= pl.col("turn_by_key").fill_null(-1).cast(pl.Int64)
    found = found.with_columns(
        labelled_at=pl.when(is_by_id).then("at_by_id").otherwise("at_by_key"),
        label=pl.when(is_by_id).then("label_by_id").otherwise("label_by_key"),
    ).drop("label_by_id", "at_by_id", "turn_by_id", "label_by_key", "at_by_key", "turn_by_key")
    found = found.filter(pl.col("label").is_not_null())
    return found.with_columns(pl.Series("label", [msgspec.json.decode(text) for text in found["label"]], strict=False))


def find_prediction(store: Store, prediction_id: str, service: str = "") -> Prediction:
    """Return one answer by its id, whichever service gave it.

    Raises:
        NotFound: none was given under that id.
    """
    unknown = NotFound(kind="prediction", name=prediction_id, remedy="an id looks like pred-01jd8m3k200004h7wz")
    try:
        given_at = time_of(prediction_id)
    except ValueError:
        raise unknown from None
    folders = sorted((store.root / "serving").glob("*"))
    services = [service] if service else [folder.name for folder in folders if folder.is_dir()]
    needle = f'"{prediction_id}"'.encode()
    for name in services:
        for source, data in _open_parts(store, name, "predictions", opened_before=given_at).items():
            for line in _lines_with(data, needle):
                for table in tables_of(store, source, line).values():
                    found = table.filter(pl.col("id") == prediction_id)
                    if len(found):
                        return _prediction(store, name, found)
    where = {"first_id <=": prediction_id, "last_id >=": prediction_id, "kind": "predictions"}
    for segment in store.ledger.find(Segment, where):
        rows = pl.scan_parquet(store.artifacts.path(segment.artifact.digest))
        found = rows.filter(pl.col("id") == prediction_id).collect()
        if len(found):
            return _prediction(store, segment.service, found)
    raise unknown


def answers_in_log(store: Store, service: str, ids: list[str]) -> dict[str, dict[str, Any]]:
    """Return what was answered under some ids, as the client was told; those that were not answered are left out."""
    wanted = set(ids)
    frames: list[pl.DataFrame] = []
    for source, data in _open_parts(store, service, "predictions").items():
        lines = {line for name in ids for line in _lines_with(data, f'"{name}"'.encode())}
        frames += tables_of(store, source, b"".join(sorted(lines))).values()
    where = {"service": service, "kind": "predictions", "first_id <=": max(ids), "last_id >=": min(ids)}
    for segment in store.ledger.find(Segment, where):
        rows = pl.scan_parquet(store.artifacts.path(segment.artifact.digest))
        frames.append(rows.filter(pl.col("id").is_in(ids)).collect())
    found: dict[str, dict[str, Any]] = {}
    for row in (row for frame in frames for row in frame.iter_rows(named=True) if row["id"] in wanted):
        told = {"id": row["id"], "version": row["version"], "prediction": row["prediction"]}
        version = store.ledger.get(Version, row["version"])
        if row["probabilities"] is not None and version is not None:
            by_text = {str(each): each for each in version.signature.classes}
            told["prediction"] = by_text.get(row["prediction"], row["prediction"])
            told["probabilities"] = dict(zip(by_text, row["probabilities"], strict=True))
        found[row["id"]] = told
    return found


def _prediction(store: Store, service: str, found: pl.DataFrame) -> Prediction:
    row = found.row(0, named=True)
    labels = join_labels(found, _feedback_on(store, service, row["id"], row["key"]))
    return Prediction(
        service=service,
        label=labels["label"][0] if len(labels) else None,
        labelled_at=labels["labelled_at"][0] if len(labels) else None,
        **{name: row[name] for name in ("id", "at", "version", "arm", "key", "time", "prediction")},
        request=row["request"],
        features=row["features"] or {},
        calls=msgspec.convert(row.get("calls") or [], list[Called]),
        trace=row.get("trace") or "",
    )


def _feedback_on(store: Store, service: str, prediction_id: str, key: str | None) -> pl.DataFrame:
    """Return the labels of one prediction, without reading the lines of all others."""
    wanted = (pl.col("id") == prediction_id) | (pl.lit(False) if key is None else pl.col("key") == key)
    # A key that is a number is written without quotes.
    needles = [msgspec.json.encode(text)[1:-1] for text in (prediction_id, key) if text]
    parts = _open_parts(store, service, "feedback")
    segments = store.ledger.find(Segment, {"service": service, "kind": "feedback"}, order="number")
    frames = [
        pl.DataFrame(schema=FEEDBACK),
        *(
            pl.scan_parquet(store.artifacts.path(segment.artifact.digest)).filter(wanted).collect()
            for segment in segments
            if segment.source not in parts  # sealed in this very moment, and read already
        ),
    ]
    for name, data in parts.items():
        lines = b"".join(line for needle in needles for line in _lines_with(data, needle))
        frames.append(labels_of(name, lines).filter(wanted))
    return pl.concat(frames).drop("source", "offset").sort("at", maintain_order=True)


def _lines_with(data: bytes, needle: bytes) -> Iterator[bytes]:
    """Give each whole line in which some bytes stand."""
    place = data.find(needle)
    while place >= 0:
        end = data.find(b"\n", place) + 1
        yield data[data.rfind(b"\n", 0, place) + 1 : end]
        place = data.find(needle, end)


def part_paths(folder: Path, kind: str) -> list[Path]:
    """Return the parts that are not sealed yet, the oldest first."""
    return sorted(folder.glob(f"{kind}-*.jsonl"))


def _open_parts(
    store: Store, service: str, kind: str, offsets: dict[str, int] | None = None, *, opened_before: float | None = None
) -> dict[str, bytes]:
    """Return the whole lines of each part that is not sealed yet, from an offset on.

    They are read before the segments are asked for: a part that is sealed meanwhile is then found in both, and left
    out once, rather than in neither.
    """
    found = {}
    for path in part_paths(folder_of(store, service), kind):
        if opened_before is not None and int(path.name.split("-")[1]) / 1000 > opened_before + 60:
            continue
        try:
            with open(path, "rb") as file:
                file.seek((offsets or {}).get(path.name, 0))
                data = file.read()
        except FileNotFoundError:  # sealed since the folder was listed
            continue
        found[path.name] = data[: data.rfind(b"\n") + 1]
    return found


def _sealed(store: Store, service: str, parts: Iterable[str]) -> set[str]:
    return {name for name in parts if store.ledger.find(Segment, {"service": service, "source": name}, limit=1)}

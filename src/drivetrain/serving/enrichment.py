"""From the rows of requests to the rows that a model sees, by the features function that training used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from drivetrain.data.features import compute
from drivetrain.data.schema import dtype_of
from drivetrain.registry import bundle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Version
    from drivetrain.serving.requests import Reader, Row
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store
    from drivetrain.system.part import Part


class Enrichment:
    """The features function of a version with its side inputs in memory."""

    def __init__(self, part: Part, version: Version, reader: Reader, side: Mapping[str, pl.DataFrame]) -> None:
        self._part, self._side, self._reader = part, side, reader
        self._names = [column.name for column in version.signature.features]
        key = version.signature.roles.key
        self._key = reader.names.index(key) if key in reader.names else None
        self._is_text = self._key is not None and reader.columns[self._key].kind == "str"

    @classmethod
    def load(cls, store: Store, version: Version, reader: Reader, side: Mapping[str, Artifact]) -> Enrichment:
        """Return the version's features function, from the code that it was trained with."""
        part = bundle.load(store, version.code).parts[version.features]
        tables = {name: store.value(artifact, pl.DataFrame) for name, artifact in side.items()}
        return cls(part, version, reader, tables)

    def frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        """Return the feature columns of some rows, in their order."""
        if self._key is not None:
            rows = self._keyed(rows, self._key)
        return compute(self._part, frame_of(self._reader.columns, rows), self._side).select(self._names)

    def _keyed(self, rows: Sequence[Row], place: int) -> Sequence[Row]:
        """Return the rows with a key each: rows are told apart by it, so a missing or repeated one is replaced."""
        keys = [row[place] for row in rows]
        if None not in keys and len(set(keys)) == len(keys):
            return rows
        made: list[Any] = [f"row-{number}" if self._is_text else -1 - number for number in range(len(rows))]
        return [(*row[:place], key, *row[place + 1 :]) for row, key in zip(rows, made, strict=True)]


def frame_of(columns: Sequence[Column], rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows of request values as a frame with the exact types of the columns."""
    schema: dict[str, Any] = {column.name: None if column.kind == "other" else dtype_of(column) for column in columns}
    return pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)

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
        if self._key is None:
            return self._compute(rows)
        rows = self._keyed(rows, self._key)
        seen: dict[Any, int] = {}
        # Within one call a key stands once, as in training: the second row of a key goes into a second call.
        turns = []
        for row in rows:
            turns.append(seen.setdefault(row[self._key], 0))
            seen[row[self._key]] += 1
        last = max(turns)
        if last == 0:
            return self._compute(rows)
        parts, order = [], []
        for turn in range(last + 1):
            places = [place for place, its in enumerate(turns) if its == turn]
            parts.append(self._compute([rows[place] for place in places]))
            order += places
        back = sorted(range(len(order)), key=order.__getitem__)
        return pl.concat(parts)[back]

    def _compute(self, rows: Sequence[Row]) -> pl.DataFrame:
        return compute(self._part, frame_of(self._reader.columns, rows), self._side).select(self._names)

    def _keyed(self, rows: Sequence[Row], place: int) -> Sequence[Row]:
        """Return the rows with a key each, made up where the client sent none."""
        if all(row[place] is not None for row in rows):
            return rows
        return [
            row
            if row[place] is not None
            else (*row[:place], f"unnamed-{number}" if self._is_text else -1 - number, *row[place + 1 :])
            for number, row in enumerate(rows)
        ]


def frame_of(columns: Sequence[Column], rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows of request values as a frame with the exact types of the columns."""
    schema: dict[str, Any] = {column.name: None if column.kind == "other" else dtype_of(column) for column in columns}
    return pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)

"""From the rows of requests to the rows that a model sees, by the features function that training used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from drivetrain.data.features import Features, compute
from drivetrain.pipeline.run import StepRun
from drivetrain.registry import bundle
from drivetrain.serving.table import frame_of, schema_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Version
    from drivetrain.serving.requests import Row
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store


class Enrichment:
    """The features function of a version, with its side inputs in memory and the settings it had in training."""

    def __init__(
        self,
        part: Features,
        version: Version,
        columns: Sequence[Column],
        side: Mapping[str, pl.DataFrame],
        settings: Mapping[str, Any] | None,
    ) -> None:
        self._part, self._side, self._settings = part, side, settings
        self._schema = schema_of(columns)
        self._names = [column.name for column in version.signature.features]

    @classmethod
    def load(
        cls, store: Store, version: Version, columns: Sequence[Column], side: Mapping[str, Artifact]
    ) -> Enrichment:
        """Return the version's features function, from the code that it was trained with."""
        part = bundle.load(store, version.code).parts[version.features]
        trained = store.ledger.get(StepRun, version.run, version.features)
        tables = {name: store.value(artifact, pl.DataFrame) for name, artifact in side.items()}
        assert isinstance(part, Features)
        return cls(part, version, columns, tables, trained.settings if trained else None)

    def frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        """Return the feature columns of some rows, in their order."""
        return self.of_frame(frame_of(self._schema, rows))

    def of_frame(self, asked: pl.DataFrame) -> pl.DataFrame:
        """Return the feature columns of a frame of requests in their exact types, in the order of its rows."""
        return compute(self._part, asked, self._side, settings=self._settings)[self._names]

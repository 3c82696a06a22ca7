"""A predictor: one version in memory, ready to answer rows of requests."""

from __future__ import annotations

import logging
from functools import cached_property
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from drivetrain.data.kinds.kind import kind_named
from drivetrain.errors import DrivetrainError
from drivetrain.registry import bundle
from drivetrain.serving.answers import Answers
from drivetrain.serving.requests import Reader, reader_for
from drivetrain.training.builds import Builds, builds_of
from drivetrain.training.builds.form import FORMS, form_named, takes_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from drivetrain.registry.version import Version
    from drivetrain.serving.requests import Row
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store

LOG = logging.getLogger("drivetrain.serving")
_WARM_UP_ROWS = (1, 1, 64, 64)
# So many rows of a frame are handed to a fast build row by row: what a query costs to turn them into an array is more.
_FEW_ROWS = 32
# What answers rows as they come, without a frame: each is a `Running`.
_ANSWER_ROWS = frozenset({*FORMS, "torch"})


class Predictor:
    """One version, with its model, features function and side inputs loaded.

    `build` is the form that answers, `build_reason` why it does, and `build_note` what is amiss with another that
    should. `seconds` tells by rows how long a batch took when it was loaded.
    """

    is_awaited = may_wait = False
    calls: tuple[str, ...] = ()

    def __init__(self, version: Version, reader: Reader, chosen: Chosen, features: Any) -> None:
        self.version, self.reader = version, reader
        self.build, self._model, self.build_reason, self.build_note = chosen
        self._features = features
        self._signature = version.signature
        self.classes = version.signature.classes
        self._is_fast = self.build in _ANSWER_ROWS
        self._is_plain = self._is_fast and takes_rows(version.signature)
        self._takes_rows = self._is_plain and features is None
        self._is_request = [column.name for column in version.signature.features] == reader.names
        self._places = (
            [reader.names.index(column.name) for column in version.signature.features] if self._takes_rows else []
        )
        self.seconds = {1: 0.0, 64: 0.0}

    @classmethod
    def load(cls, store: Store, version: Version, *, side: Mapping[str, Artifact] | None = None) -> Predictor:
        """Return a version ready to answer; `side` gives newer tables for its side inputs.

        Raises:
            DrivetrainError: its artifacts or its code cannot be read.
        """
        reader = reader_for(version.signature)
        chosen = load_model(store, version)
        features = None
        if version.features:
            from drivetrain.serving.enrichment import Enrichment

            features = Enrichment.load(store, version, reader.columns, side or version.side_inputs)
        predictor = cls(version, reader, chosen, features)
        predictor.measure()
        return predictor

    def answer(self, rows: Sequence[Row]) -> Answers:
        """Return the answers to rows of request values, in their order.

        Raises:
            ValueError: the model gave no finite number for a row.
        """
        if not self._takes_rows:
            frame = self._features.frame(rows) if self._features else self._frame(rows)
            return self._told(self._of_model(frame, len(rows)), frame if self._features else None)
        scores = self._model.scores(rows if self._is_request else _picked(rows, self._places))
        return self._told(self._shaped(scores, len(rows)), None)

    def answer_frame(self, frame: pl.DataFrame) -> Answers:
        """Return the answers to the rows of a frame that `fitted` gave, in their order.

        Raises:
            ValueError: the model gave no finite number for a row.
        """
        seen, scores = self.scores(frame)
        return self._told(scores, seen if self._features else None)

    def scores(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray[Any, Any]]:
        """Return what the model sees of a frame that `fitted` gave, and what it answers to each row.

        The shape is (rows,) with the probability of `classes[1]` for binary, (rows, classes) for multiclass, and
        (rows,) with the value for regression.

        Raises:
            ValueError: the model gave no finite number for a row.
        """
        seen = (
            self._features.of_frame(frame)
            if self._features
            else frame[[column.name for column in self._signature.features]]
        )
        scores = self._of_model(seen, frame.height)
        if not np.isfinite(scores).all():
            raise ValueError(self._no_number())
        return seen, scores

    @cached_property
    def _schema(self) -> dict[str, Any]:
        from drivetrain.serving.table import schema_of

        return schema_of(self.reader.columns)

    def _frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        from drivetrain.serving.table import frame_of

        return frame_of(self._schema, rows)[[column.name for column in self._signature.features]]

    def _of_model(self, seen: pl.DataFrame, rows: int) -> np.ndarray[Any, Any]:
        if self._is_plain and rows <= _FEW_ROWS:
            return self._shaped(self._model.scores(seen.rows()), rows)
        if self._is_fast:
            return self._shaped(self._model.scores_of(seen), rows)
        from drivetrain.training.predict import predictions

        return self._shaped(np.asarray(predictions(self._model, seen, self._signature)), rows)

    def _shaped(self, scores: np.ndarray[Any, Any], rows: int) -> np.ndarray[Any, Any]:
        """Return a model's answers in their one shape, if there is one for each row."""
        if len(scores) != rows:
            raise ValueError(f"{self.version.id} gave {len(scores)} predictions for {rows} rows")
        return scores[:, 1] if scores.ndim == 2 and self._signature.task != "multiclass" else scores

    def _no_number(self) -> str:
        return f"{self.version.id} gave no finite number for a row"

    def piece(self, value: Any) -> Any:
        """Return the one piece of an answer beside a model that streams."""
        return value

    async def awaited(self, rows: Sequence[Row], timeout_s: float) -> Answers:
        """Return what `answer` does, for a caller that has to await."""
        return self.answer(rows)

    async def health(self) -> str:
        """Return what is amiss with an engine elsewhere: there is none."""
        return ""

    def was_late(self) -> None:
        """Learn that the time of a service was up before the answer came: there is no engine to be spared."""

    def _told(self, scores: np.ndarray[Any, Any], features: pl.DataFrame | None) -> Answers:
        values = scores.tolist()
        is_multiclass = self._signature.task == "multiclass"
        # A sum that is finite has finite parts; for few rows this takes a tenth of the time that numpy needs.
        total = sum(map(sum, values)) if is_multiclass else sum(values)
        if not isfinite(total) and not np.isfinite(scores).all():
            raise ValueError(self._no_number())
        if is_multiclass:
            best = scores.argmax(axis=1).tolist()
            return Answers([self.classes[place] for place in best], values, features)
        return Answers(values, None, features)

    def example(self) -> Row:
        """Return a row of the examples in the signature."""
        return tuple(
            example_of(column, kind) for column, kind in zip(self.reader.columns, self.reader.types, strict=True)
        )

    def measure(self) -> None:
        """Answer the signature's example a few times, so that the first client does not pay for it, and time it."""
        key = self._signature.roles.key
        # Rows without a key, as those of different entities: one entity twice in a batch is rare, and slower.
        row = tuple(
            None if name == key else value for name, value in zip(self.reader.names, self.example(), strict=True)
        )
        for count in _WARM_UP_ROWS:
            started = perf_counter()
            self.answer([row] * count)
            self.seconds[count] = perf_counter() - started


class Chosen(NamedTuple):
    """The form that answers for a version: a fast build's name, or the form of its artifact.

    `why` is the evidence for it, and `note` what kept another from answering here that should.
    """

    build: str
    model: Any
    why: str = ""
    note: str = ""


def load_model(store: Store, version: Version) -> Chosen:
    """Return the fastest build of a version that agrees with the original and can be loaded here, or the original."""
    builds = builds_of(version.artifact) or Builds()
    notes = []
    for build in builds.ranked():
        try:
            running = form_named(build.form).opened(store.artifacts.path(build.digest), version.signature)
        except Exception as error:  # the original can answer whatever keeps a build from it
            told = error.message if isinstance(error, DrivetrainError) else f"{type(error).__name__}: {error}"
            notes.append(f"the {build.form} build of {version.id} cannot be loaded: {told}")
            LOG.warning("%s", notes[-1])
            continue
        return Chosen(build.form, running, builds.why, "; ".join(notes))
    artifact = version.artifact
    if artifact.format == "onnx":
        return Chosen("onnx", form_named("onnx").opened(store.artifacts.path(artifact.digest), version.signature))
    with bundle.as_trained(store, version):
        model = store.value(artifact)
    if artifact.format == "torch":
        from drivetrain.training.torch import Tabular

        model = Tabular(model, version.signature.task)
    return Chosen(artifact.format, model, builds.why, "; ".join(notes))


def example_of(column: Any, kind: Any) -> Any:
    """Return a column's example as a value of its type, or a plain one of that type where it has none."""
    special = kind_named(column.kind)
    if special is not None and not column.nullable:
        return special.read(msgspec.convert(special.example(column), kind), column)
    if column.example is not None:
        try:
            return msgspec.convert(column.example, kind, strict=False)
        except msgspec.ValidationError:
            pass
    if column.nullable:
        return None
    plain: dict[str, Any] = {"bool": False, "int": 0, "float": 0.0, "str": "text"}
    if column.kind in plain:
        return plain[column.kind]
    return msgspec.convert("2026-01-01" if column.kind == "date" else "2026-01-01T00:00:00", kind, strict=False)


def _picked(rows: Sequence[Row], places: list[int]) -> list[Row]:
    return [tuple([row[place] for place in places]) for row in rows]

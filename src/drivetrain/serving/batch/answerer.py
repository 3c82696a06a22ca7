"""Who answers the frames of a job: a version as the server has it, with what it takes and what columns it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from drivetrain.registry import bundle
from drivetrain.serving.batch.values import ValuesAnswerer
from drivetrain.serving.fit import fit
from drivetrain.serving.live import arm_of
from drivetrain.serving.ready import ReadyModel
from drivetrain.serving.service import Terms
from drivetrain.training.remote import OpenAIModel

if TYPE_CHECKING:
    from collections.abc import Container

    from drivetrain.registry.version import Version
    from drivetrain.serving.batch.folder import Folder
    from drivetrain.serving.fit import Fit
    from drivetrain.serving.predictor import Predictor
    from drivetrain.serving.requests import Reader
    from drivetrain.store.store import Store


_MOST_OF_ENGINE = 1_000


class Answerer(Protocol):
    """Answers frames with one version; at most `most_rows` at once, where that is not None."""

    version: Version
    reader: Reader
    most_rows: int | None

    def fit(self, frame: pl.DataFrame, *, text: Container[str], folder: Folder, limit: int | None) -> Fit:
        """Return what the version would see of a frame, and up to `limit` problems."""
        ...

    def answered(self, asked: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, Exception]]:
        """Return `prediction`, or what stands for it, for rows of a frame that `fit` gave.

        The rows without an answer stand beside it by their place, with the reason.

        Raises:
            Exception: whatever the user's function or model raises, so that none of the rows is answered.
        """
        ...

    def unanswered(self) -> pl.DataFrame:
        """Return the same for no rows."""
        ...


class TableAnswerer:
    """Answers with a model that learnt from a table."""

    most_rows: int | None = None

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.version, self.reader = predictor.version, predictor.reader

    def fit(self, frame: pl.DataFrame, *, text: Container[str], folder: Folder, limit: int | None) -> Fit:
        return fit(self.reader, frame, text=text, limit=limit)

    def answered(self, asked: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, Exception]]:
        return self._columns(self._predictor.scores(asked)[1]), {}

    def unanswered(self) -> pl.DataFrame:
        classes = len(self._predictor.classes)
        return self._columns(np.empty((0, classes) if self.version.signature.task == "multiclass" else (0,)))

    def _columns(self, scores: np.ndarray[Any, Any]) -> pl.DataFrame:
        classes = self._predictor.classes
        if self.version.signature.task != "multiclass":
            return pl.DataFrame([pl.Series("prediction", np.asarray(scores, dtype=np.float64))])
        best = pl.Series(scores.argmax(axis=1) if len(scores) else [], dtype=pl.UInt32)
        shares = pl.DataFrame(np.asarray(scores, dtype=np.float64), schema=[str(each) for each in classes])
        return pl.DataFrame([pl.Series("prediction", classes).gather(best), shares.to_struct("probabilities")])


def answerer_of(store: Store, version: Version) -> Answerer:
    """Return a version ready to answer; the store must stay open for as long as it does.

    Raises:
        Exception: its code or its files fail; they are the user's.
    """
    arm = arm_of(store, version, version.side_inputs)
    if isinstance(arm, ReadyModel):
        # An engine that is asked row by row says itself which of them it refuses: the more at once, the less it waits.
        is_remote = isinstance(arm.model, OpenAIModel)
        return ValuesAnswerer(arm, most_rows=_MOST_OF_ENGINE if is_remote else _most_rows(store, version))
    return TableAnswerer(arm)


def _most_rows(store: Store, version: Version) -> int:
    """Return how many rows the services of a model let it answer at once."""
    parts = bundle.load(store, version.code).parts.values()
    services: list[Any] = [part for part in parts if part.ROLE == "service"]
    found = [service.max_batch for service in services if service.model.name == version.model]
    return min(found, default=Terms(name="", model=version.model).max_batch)

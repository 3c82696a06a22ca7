"""A model version: a trained artifact with its signature and its lineage; it never changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from drivetrain.store.artifact import Artifact
from drivetrain.store.record import Record
from drivetrain.training.signature import Signature as Signature
from drivetrain.training.signature import Task as Task


class Version(Record, frozen=True, kw_only=True):
    """One trained model with all that is needed to answer requests with it, now and in years.

    Its id is the model's name and a number: `lateness@3`.
    """

    TABLE: ClassVar[str] = "version"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("model", "number"),)

    id: str
    model: str
    number: int
    system: str
    run: str
    # The key of the step that trained it.
    key: str
    artifact: Artifact
    signature: Signature
    # The digest of the project's source files as they were (a `Bundle`), which the features function is loaded from.
    code: str
    # The name of the features part; empty when the model takes the request's columns as they are.
    features: str = ""
    # The dataset whose rows requests look like.
    dataset: str = ""
    # The other datasets that the features function takes, as they were in training.
    side_inputs: dict[str, Artifact] = {}
    metrics: dict[str, float] = {}
    settings: dict[str, Any] = {}
    # The digest of a `Reference`: how features and predictions were distributed in training.
    reference: str = ""
    created_at: datetime


class AliasChange(Record, frozen=True, kw_only=True):
    """An alias was pointed at a version: the newest change says where it points, older ones what was live when."""

    TABLE: ClassVar[str] = "alias_change"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("model", "alias"),)

    id: str
    model: str
    alias: str
    version: str
    previous: str = ""
    at: datetime
    reason: str
    actor: str


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """How one condition of a gate came out."""

    condition: str
    found: float | None
    # What it was compared with: a figure, or the champion's own value of the same metric.
    limit: float | None
    holds: bool
    note: str = ""


# The exit code of a process whose run finished, and in which a gate refused a version.
REFUSED_EXIT_CODE = 3


class Decision(Record, frozen=True, kw_only=True):
    """What a gate decided about a version, and on what evidence."""

    TABLE: ClassVar[str] = "decision"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("version",),)

    id: str
    gate: str
    model: str
    version: str
    champion: str = ""
    run: str
    passed: bool
    judgements: list[Judgement]
    # What followed: `promoted`, `canary`, `refused`, or `unchanged` when the version was the champion already.
    outcome: str
    at: datetime

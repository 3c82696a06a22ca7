"""Batch scoring: the rows of files, tables and buckets, with the model and features function that the server uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivetrain.serving.batch.run import Batch as Batch
    from drivetrain.serving.batch.scoring import score as score


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: the records of jobs are read without polars."""
    if name == "Batch":
        from drivetrain.serving.batch.run import Batch

        return Batch
    if name == "score":
        from drivetrain.serving.batch.scoring import score

        return score
    raise AttributeError(f"module 'drivetrain.serving.batch' has no attribute {name!r}")

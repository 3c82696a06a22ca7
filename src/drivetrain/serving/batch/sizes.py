"""How many rows of a job are held in memory at once, and how many are finished at once."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Signature

CHUNK_ROWS = 65_536
# A chunk is about so many values, so that a wide table takes no more memory than a narrow one.
CHUNK_VALUES = 1 << 21
PART_ROWS = 1_000_000
# Of a model that may take seconds over a row, less is done again after a crash.
PART_ROWS_OF_VALUES = 10_000
# What is taken for the size of what nobody knows before it is read: a free dimension, a structure, an image.
_FREE, _STRUCTURE, _IMAGE = 64, 64, 1 << 15


def chunk_rows(signature: Signature, columns: int) -> int:
    """Return how many rows with so many columns are answered at once.

    >>> from drivetrain.data.kinds.tensor import Tensor
    >>> from drivetrain.training.ready import values_signature
    >>> pixels = values_signature([Tensor("float32", (3, 224, 224)).column("pixels")], [], label="pixels")
    >>> chunk_rows(pixels, 1)
    13
    """
    if signature.task != "values":
        return max(256, min(CHUNK_ROWS, CHUNK_VALUES // max(1, columns)))
    return max(1, min(CHUNK_ROWS, CHUNK_VALUES // max(1, columns + sum(map(_values_in, signature.request)))))


def part_rows(signature: Signature) -> int:
    """Return about how many rows are a part where nobody says so."""
    if signature.task != "values":
        return PART_ROWS
    return min(PART_ROWS_OF_VALUES, 16 * chunk_rows(signature, len(signature.request)))


def _values_in(column: Column) -> int:
    if column.kind == "tensor":
        return prod(_FREE if length is None else length for length in column.form["shape"])
    return {"image": _IMAGE, "structure": _STRUCTURE}.get(column.kind, 0)

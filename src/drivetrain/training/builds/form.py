"""The forms of fast builds: which there are, and what each can do."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from drivetrain.training.signature import Signature

# The file in this folder that knows a form; a vendor's library is imported there, and only when it is used.
FORMS = {"onnx": "onnx", "lightgbm-native": "lightgbm"}
# Of features of these kinds a row can be handed in as it came, without a table.
PLAIN = frozenset({"bool", "int", "float", "str"})


class Running(Protocol):
    """A fast build in memory.

    Either way it gives the probabilities of a classifier, (rows, classes) or (rows,) with that of the last of two, or
    the values (rows,) of a regression.
    """

    def scores(self, rows: Sequence[tuple[Any, ...]]) -> NDArray[Any]:
        """Return the answers to rows of feature values, in the signature's order."""
        ...

    def scores_of(self, frame: pl.DataFrame) -> NDArray[Any]:
        """Return the answers to the rows of a frame of features."""
        ...


class Form(Protocol):
    """How models are brought into one form, and run in it."""

    def takes(self, model: Any, signature: Signature) -> bool:
        """Return whether it is worth trying."""
        ...

    def written(self, model: Any, signature: Signature) -> bytes:
        """Return a model in this form.

        Raises:
            Exception: it cannot be brought into it; converters raise all kinds.
        """
        ...

    def opened(self, path: Path, signature: Signature) -> Running:
        """Return a build in memory, running with one thread.

        Raises:
            MissingExtra: its library is not installed.
        """
        ...


def form_named(name: str) -> Form:
    """Return a form.

    >>> sorted(FORMS)
    ['lightgbm-native', 'onnx']
    """
    form: Form = import_module(f"drivetrain.training.builds.{FORMS[name]}").FORM
    return form


def takes_rows(signature: Signature) -> bool:
    """Return whether a row of a signature's features can be handed in as it came."""
    return {column.kind for column in signature.features} <= PLAIN

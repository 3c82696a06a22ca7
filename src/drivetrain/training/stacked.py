"""A network that takes examples stacked along the first axis: rows go in as arrays, and come out one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain.data.kinds.tensor import Tensor
from drivetrain.data.schema import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

# A dimension of what a network takes or gives; None is free.
Shape = list[int | None]


class Put:
    """An input of a network as the network itself says it, with the axis of the examples."""

    def __init__(self, name: str, dtype: str, shape: Sequence[int | None]) -> None:
        self.name, self.dtype, self.shape = name, dtype, list(shape)
        self.numpy_dtype: Any = object if dtype == "str" else dtype


class Stacked:
    """Answers rows by a network.

    A request is one example: where the first dimension of each input is free, it counts the examples, and those that
    arrive together are run as one. Where it is 1 each is run alone, and with any other number a request holds the whole
    of what the network takes.
    """

    outputs: list[Column]

    def __init__(self, puts: Sequence[Put]) -> None:
        self.puts = list(puts)
        firsts = [put.shape[0] if put.shape else 0 for put in puts]
        self.is_batch = bool(firsts) and all(first is None for first in firsts)
        # Whether the axis of the examples is ours, and no request has it.
        self.drops = self.is_batch or (bool(firsts) and all(first == 1 for first in firsts))
        self.inputs = [column_of(put.name, put.dtype, self.inner(put.shape)) for put in puts]

    def inner(self, shape: Sequence[int | None]) -> Shape:
        """Return the shape of one example of something."""
        return list(shape[1:] if self.drops else shape)

    def run(self, arrays: list[Any]) -> list[Any]:
        """Return each output of the network for its inputs, in their order."""
        raise NotImplementedError

    def predict(self, **inputs: Any) -> Any:
        """Return what the network gives for whole arrays, by input name: one array, or a dict with each output."""
        found = self.run([np.asarray(inputs[put.name], dtype=put.numpy_dtype) for put in self.puts])
        return found[0] if len(found) == 1 else dict(zip([each.name for each in self.outputs], found, strict=True))

    def answer(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what the network gives for each row: a value, or one for each output."""
        answers: list[Any] = [None] * len(rows)
        for places, arrays in self.feeds(rows):
            self.take(answers, places, self.run(arrays))
        return answers

    def feeds(self, rows: Sequence[tuple[Any, ...]]) -> list[tuple[list[int], list[Any]]]:
        """Return the places of rows that can be run as one, each with the inputs that they make."""
        return [
            (
                places,
                [
                    self._stacked([rows[place][number] for place in places], put.numpy_dtype)
                    for number, put in enumerate(self.puts)
                ],
            )
            for places in self._groups(rows)
        ]

    def take(self, answers: list[Any], places: list[int], found: list[Any]) -> None:
        """Put what the network gave for some rows into their places."""
        for position, place in enumerate(places):
            told = {
                column.name: self._of(value, position, len(places))
                for column, value in zip(self.outputs, found, strict=True)
            }
            answers[place] = told if len(told) > 1 else next(iter(told.values()))

    def _groups(self, rows: Sequence[tuple[Any, ...]]) -> list[list[int]]:
        """Return the places of rows that can be run as one: those whose values have the same shapes."""
        if not self.is_batch:
            return [[place] for place in range(len(rows))]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(tuple(np.shape(value) for value in row), []).append(place)
        return list(groups.values())

    def _stacked(self, values: list[Any], dtype: Any) -> Any:
        if self.drops:
            return np.stack([np.asarray(value, dtype=dtype) for value in values])
        return np.asarray(values[0], dtype=dtype)

    def _of(self, value: Any, place: int, count: int) -> Any:
        if not self.drops:
            return value
        if len(value) != count:
            raise ValueError(f"the network gave {len(value)} answers for {count} examples")
        found = value[place]
        return {str(name): float(share) for name, share in found.items()} if isinstance(found, dict) else found


def column_of(name: str, dtype: str, shape: Shape) -> Column:
    """Return the column of one example: a plain value where it has no dimensions.

    >>> column_of("score", "float32", []).kind, column_of("x", "float32", [3]).kind
    ('float', 'tensor')
    """
    if shape:
        return Tensor(dtype, tuple(shape)).column(name)
    if dtype == "str":
        return Column(name=name, kind="str", dtype="String")
    if dtype == "bool":
        return Column(name=name, kind="bool", dtype="Boolean")
    if dtype.startswith("float"):
        return Column(name=name, kind="float", dtype="Float64" if dtype == "float64" else "Float32")
    return Column(name=name, kind="int", dtype=dtype.replace("uint", "UInt").replace("int", "Int"))

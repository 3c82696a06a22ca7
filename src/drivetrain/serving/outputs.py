"""What a version gives, as the tensors of the Open Inference Protocol."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from drivetrain.errors import nearest
from drivetrain.serving.requests import unfit
from drivetrain.serving.tensors import Described, Tensor, as_text, column_tensor, datatype_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Signature
    from drivetrain.serving.batching import Reply


class Outputs:
    """The outputs of a version: its answers, and for each row the id of the prediction and the version.

    `described` says what they are. They are worked out once, and not for each request.
    """

    def __init__(self, signature: Signature) -> None:
        self._is_text = signature.streams
        self._columns = {column.name: column for column in signature.outputs} if signature.task == "values" else {}
        if signature.task == "values":
            self.described = [self._described(column) for column in signature.outputs]
        else:
            self.described = [Described("prediction", _datatype_of_prediction(signature), [-1])]
        if signature.task == "multiclass":
            self.described.append(Described("probabilities", "FP64", [-1, len(signature.classes)]))
        self.described += [Described("id", "BYTES", [-1]), Described("version", "BYTES", [-1])]
        self._by_name = {each.name: each for each in self.described}

    def _described(self, column: Column) -> Described:
        if self._is_json(column):
            return Described(column.name, "BYTES", [-1])
        return Described(column.name, datatype_of(column), shape_of(column))

    def _is_json(self, column: Column) -> bool:
        """Return whether an output is JSON: pieces of a stream, and what may be null."""
        return self._is_text or column.nullable

    def check(self, names: Sequence[str]) -> None:
        """Refuse names of which there is no output.

        Raises:
            RequestError: 422, there is none.
        """
        for name in names:
            if name not in self._by_name:
                right = nearest(name, self._by_name)
                raise unfit([{"row": None, "field": name, "found": "an unknown output", "wanted": right}])

    def tensors(self, reply: Reply, names: Sequence[str] = ()) -> list[Tensor]:
        """Return a reply as the tensors of these names, all of them known, or as all that the version gives."""
        return [self._tensor(self._by_name[name], reply) for name in names or self._by_name]

    def _tensor(self, output: Described, reply: Reply) -> Tensor:
        name, values = output.name, reply.predictions
        if name == "id":
            values = reply.ids
        elif name == "version":
            values = reply.versions
        elif name in self._columns:
            return self._given(self._columns[name], reply)
        elif name == "probabilities":
            values = list(chain.from_iterable(reply.probabilities or []))
        elif output.datatype == "BYTES":
            values = [str(each) for each in values]
        return Tensor(name, output.datatype, [len(reply.ids), *output.shape[1:]], values)

    def _given(self, column: Column, reply: Reply) -> Tensor:
        """Return one of the outputs of a model that gives values."""
        is_alone = len(self._columns) == 1
        values = reply.predictions if is_alone else [each[column.name] for each in reply.predictions]
        if self._is_json(column):
            return Tensor(column.name, "BYTES", [len(values)], [as_text(each) for each in values])
        return column_tensor(column, values)


def _datatype_of_prediction(signature: Signature) -> str:
    if signature.task != "multiclass":
        return "FP64"
    kinds = {type(each) for each in signature.classes}
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"

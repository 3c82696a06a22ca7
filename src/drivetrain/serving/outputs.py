"""What a version gives, as the tensors of the Open Inference Protocol."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from drivetrain.data.kinds.kind import told
from drivetrain.data.kinds.structure import fields_of
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

    A record is an output for each field. One of the model that is named `id` or `version` stands in place of ours.
    `described` says what they are. They are worked out once, and not for each request.
    """

    def __init__(self, signature: Signature) -> None:
        self._is_text = signature.streams
        given = signature.outputs if signature.task == "values" else []
        is_record = len(given) == 1 and given[0].kind == "structure" and not signature.streams
        self._fields = fields_of(given[0]) if is_record else []
        self._is_alone = len(given) == 1
        self._columns = {column.name: column for column in self._fields or given}
        self.described = [self._described(column) for column in self._columns.values()]
        if signature.task != "values":
            self.described.append(Described("prediction", _datatype_of_prediction(signature), [-1]))
        if signature.task == "multiclass":
            self.described.append(Described("probabilities", "FP64", [-1, len(signature.classes)]))
        ours = [Described(name, "BYTES", [-1]) for name in ("id", "version")]
        self.described += [each for each in ours if each.name not in self._columns]
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
        if name in self._columns:
            return self._given(self._columns[name], reply)
        if name == "id":
            values = reply.ids
        elif name == "version":
            values = reply.versions
        elif name == "probabilities":
            values = list(chain.from_iterable(reply.probabilities or []))
        elif output.datatype == "BYTES":
            values = [str(each) for each in values]
        return Tensor(name, output.datatype, [len(reply.ids), *output.shape[1:]], values)

    def _given(self, column: Column, reply: Reply) -> Tensor:
        """Return one of the outputs of a model that gives values."""
        values = reply.predictions
        if self._fields:  # what an answer leaves out has its default, and of a record nobody has checked the types
            values = [told(each.get(column.name, column.example), column) for each in values]
        elif not self._is_alone:
            values = [each[column.name] for each in values]
        if self._is_json(column):
            return Tensor(column.name, "BYTES", [len(values)], [as_text(each) for each in values])
        return column_tensor(column, values)


def _datatype_of_prediction(signature: Signature) -> str:
    if signature.task != "multiclass":
        return "FP64"
    kinds = {type(each) for each in signature.classes}
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"

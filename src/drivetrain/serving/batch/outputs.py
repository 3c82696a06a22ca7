"""The columns that a model's answers are: numbers and texts as they are, tensors as lists, records as structs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from drivetrain.data.schema import Column, dtype_of
from drivetrain.serving.batch.cells import DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.registry.version import Signature

_REFERENCE = "#/components/schemas/"
# A record that holds itself has no end.
_DEEPEST = 16


def names_of(signature: Signature) -> list[str]:
    """Return the columns that an output has beside those of the input."""
    if signature.task != "values":
        return ["prediction", "probabilities", "version"]
    return [*(column.name for column in outputs_of(signature)), "version"]


def outputs_of(signature: Signature) -> list[Column]:
    """Return the outputs of a model that gives values, as columns: a single one is the prediction itself."""
    if len(signature.outputs) != 1:
        return signature.outputs
    return [msgspec.structs.replace(signature.outputs[0], name="prediction")]


def type_of(column: Column) -> pl.DataType:
    """Return the type of the column of an output; what has no fixed fields is JSON text.

    >>> from drivetrain.data.kinds.structure import structure_column
    >>> from drivetrain.data.kinds.tensor import Tensor
    >>> type_of(Tensor("float32", (None, 2)).column("boxes"))
    List(List(Float32))
    >>> type_of(structure_column("shares", dict[str, float]))
    String
    """
    if column.kind == "tensor":
        dtype = pl.String() if column.dtype == "str" else DTYPES.get(column.dtype, pl.Float32())
        for _ in column.form["shape"]:
            dtype = pl.List(dtype)
        return dtype
    if column.kind == "image":
        return pl.Binary()
    if column.kind == "structure":
        return _of_schema(column.form["schema"], column.form.get("components", {}), 0) or pl.String()
    return dtype_of(column)


def answers_of(signature: Signature, predictions: Sequence[Any]) -> pl.DataFrame:
    """Return answers, as JSON tells them, as a column for each output.

    Raises:
        ValueError: an answer is not what the model's signature says.
    """
    outputs = outputs_of(signature)
    given = [predictions] if len(outputs) == 1 else [[each[column.name] for each in predictions] for column in outputs]
    return pl.DataFrame(
        [
            _pieces(column, values) if signature.streams else _series(column, values)
            for column, values in zip(outputs, given, strict=True)
        ]
    )


def _pieces(column: Column, values: Sequence[Sequence[Any]]) -> pl.Series:
    """Return the pieces of streams, a list for each."""
    flat = _series(column, [piece for pieces in values for piece in pieces])
    ends = pl.Series([len(pieces) for pieces in values], dtype=pl.UInt32).cum_sum()
    lists, begin = [], 0
    for end in ends:
        lists.append(flat.slice(begin, end - begin))
        begin = end
    return pl.Series(column.name, lists, dtype=pl.List(flat.dtype))


def _series(column: Column, values: Sequence[Any]) -> pl.Series:
    if column.kind == "structure":
        return _structures(column, values)
    if column.kind == "image":
        values = [None if value is None else base64.b64decode(value) for value in values]
    try:
        return pl.Series(column.name, values, dtype=type_of(column))
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        raise _unlike(column, error) from error


def _structures(column: Column, values: Sequence[Any]) -> pl.Series:
    texts = [None if value is None else msgspec.json.encode(value).decode() for value in values]
    told = pl.Series(column.name, texts, dtype=pl.String)
    dtype = _of_schema(column.form["schema"], column.form.get("components", {}), 0)
    if dtype is None:
        return told
    try:
        found = told.str.json_decode(dtype)
    except pl.exceptions.PolarsError as error:
        raise _unlike(column, error) from error
    # Polars leaves out what a type does not have: a field, or what stands behind the point.
    if not _is_same(values, found.to_list()):
        raise _unlike(column, "other fields, or a number that is not whole")
    return found


def _unlike(column: Column, what: object) -> ValueError:
    cause = str(what).partition("\n")[0][:200]
    return ValueError(f"{column.name} is not what the signature says, {type_of(column)}: {cause}")


def _is_same(given: Any, kept: Any) -> bool:
    """Return whether values were kept as they are; a field that was left out is null."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return given.keys() <= kept.keys() and all(_is_same(given.get(name), value) for name, value in kept.items())
    if isinstance(given, list | tuple) and isinstance(kept, list):
        return len(given) == len(kept) and all(map(_is_same, given, kept))
    return bool(given == kept)


def _of_schema(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> pl.DataType | None:
    """Return the type of a table for a JSON schema; None where there is none."""
    if depth > _DEEPEST:
        return None
    if "$ref" in schema:
        return _of_schema(components.get(str(schema["$ref"]).removeprefix(_REFERENCE), {}), components, depth + 1)
    if "anyOf" in schema:
        others = [each for each in schema["anyOf"] if each.get("type") != "null"]
        return _of_schema(others[0], components, depth + 1) if len(others) == 1 else None
    if "enum" in schema:
        return pl.String() if all(isinstance(each, str) for each in schema["enum"]) else None
    if schema.get("type") == "array":
        inner = _of_schema(schema.get("items") or {}, components, depth + 1)
        return pl.List(inner) if inner is not None and "prefixItems" not in schema else None
    if schema.get("type") == "object":
        fields = {name: _of_schema(each, components, depth + 1) for name, each in schema.get("properties", {}).items()}
        if not fields or schema.get("additionalProperties") or None in fields.values():
            return None
        return pl.Struct(fields)  # type: ignore[arg-type]  # none of them is None
    plain: dict[str, pl.DataType] = {
        "string": pl.String(), "integer": pl.Int64(), "number": pl.Float64(), "boolean": pl.Boolean()
    }  # fmt: skip
    return plain.get(schema.get("type", ""))

"""Structures: lists, objects and records of any depth, as msgspec, dataclasses and TypedDicts declare them.

The column holds their JSON schema, for clients; what checks and makes the values is the annotation in the user's file.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import msgspec

from drivetrain.data.kinds.kind import MOST_LOGGED_BYTES
from drivetrain.data.schema import Column, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REFERENCE = "#/components/schemas/"
# What is no more than a column of a table, by its type in a JSON schema.
_SCALARS: dict[str, tuple[Kind, str]] = {
    "boolean": ("bool", "Boolean"),
    "integer": ("int", "Int64"),
    "number": ("float", "Float64"),
    "string": ("str", "String"),
}
_TYPES = {int: "integer", str: "string"}
# So many values of an enumeration are told of one that does not fit.
_MOST_TOLD = 20


def structure_column(name: str, annotation: Any, *, nullable: bool = False) -> Column:
    """Return the column of values of a type.

    Raises:
        TypeError: msgspec cannot describe the type as JSON.

    >>> structure_column("history", list[float]).form["schema"]
    {'type': 'array', 'items': {'type': 'number'}}
    """
    (schema,), components = msgspec.json.schema_components([annotation], ref_template=_REFERENCE + "{name}")
    form: dict[str, Any] = {"schema": schema} | ({"components": dict(components)} if components else {})
    return Column(name=name, kind="structure", dtype=_told(annotation), nullable=nullable, form=form)


def fields_of(column: Column) -> list[Column]:
    """Return the fields of a record as columns, with the default of one that may be left out as its example.

    What is more than a number, a text or a truth value, or may be null or absent, is a structure. Other structures,
    and a record that may be null, have no fields.

    >>> from typing import TypedDict
    >>> answer = structure_column("answer", TypedDict("Answer", {"boxes": list[float], "output-0": int}))
    >>> [(each.name, each.kind) for each in fields_of(answer)]
    [('boxes', 'structure'), ('output-0', 'int')]
    """
    components = column.form.get("components", {})
    schema = _referred(column.form["schema"], components)
    if column.nullable or schema.get("type") != "object":
        return []
    required = schema.get("required", ())
    return [_field(name, each, components, name in required) for name, each in schema.get("properties", {}).items()]


def _field(name: str, schema: Mapping[str, Any], components: Mapping[str, Any], is_required: bool) -> Column:
    found = _referred(schema, components)
    types = {_TYPES.get(type(each), "") for each in found.get("enum", ())}
    kind, dtype = _SCALARS.get(found.get("type") or (types.pop() if len(types) == 1 else ""), (None, ""))
    default = schema.get("default")
    if kind is None or not (is_required or "default" in schema):
        form = {"schema": dict(schema), "components": dict(components)}
        return Column(name=name, kind="structure", dtype="Any", nullable=True, example=default, form=form)
    return Column(name=name, kind=kind, dtype=dtype, example=default)


def _referred(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema, or the one that it refers to."""
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = components.get(str(schema["$ref"]).removeprefix(_REFERENCE), {})
    return found


class StructureKind:
    """Hands on what msgspec has made of the JSON."""

    def type_of(self, column: Column) -> Any:
        return Any

    def read(self, value: Any, column: Column) -> Any:
        return value

    def words(self, column: Column) -> str:
        known = _referred(column.form["schema"], column.form.get("components", {})).get("enum")
        if known is None:
            return f"a value of {column.dtype}"
        told = [msgspec.json.encode(each).decode() for each in known[:_MOST_TOLD]]
        return f"one of {', '.join(told)}{', …' if len(known) > _MOST_TOLD else ''}"

    def schema(self, column: Column) -> dict[str, Any]:
        return dict(column.form["schema"])

    def told(self, value: Any, column: Column) -> Any:
        try:
            plain = msgspec.to_builtins(value, enc_hook=_plain)
        except (TypeError, NotImplementedError) as error:
            raise ValueError(f"{column.name} cannot be written as JSON: {error}") from error
        if not _is_finite(plain):
            raise ValueError(f"{column.name} holds a number that is not finite")
        return plain

    def logged(self, value: Any, column: Column) -> Any:
        data = msgspec.json.encode(value, enc_hook=_plain)
        if len(data) <= MOST_LOGGED_BYTES:
            return msgspec.Raw(data)
        return {"digest": f"sha256:{sha256(data).hexdigest()}", "size_bytes": len(data)}

    def example(self, column: Column) -> Any:
        return _example(column.form["schema"], column.form.get("components", {}), 0)


def _plain(value: Any) -> Any:
    """Return a number or array of numpy's as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise NotImplementedError(f"a {type(value).__qualname__} is no JSON")


def _is_finite(plain: Any) -> bool:
    if isinstance(plain, float):
        return plain - plain == 0
    if isinstance(plain, dict):
        return all(map(_is_finite, plain.values()))
    return not isinstance(plain, list | tuple) or all(map(_is_finite, plain))


def _told(annotation: Any) -> str:
    """Return a type as it is written, and what more is asked of its values.

    >>> _told(Annotated[list[float], msgspec.Meta(min_length=3)])
    'list[float] (min_length=3)'
    """
    if get_origin(annotation) is Annotated:
        kind, *metas = get_args(annotation)
        asked = {name: value for meta in metas if isinstance(meta, msgspec.Meta) for name, value in _asked(meta)}
        return _told(kind) + (f" ({', '.join(f'{name}={value!r}' for name, value in asked.items())})" if asked else "")
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _asked(meta: msgspec.Meta) -> Iterator[tuple[str, Any]]:
    for name in ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length"):
        if (value := getattr(meta, name)) is not None:
            yield name, value


def _example(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> Any:
    """Return a small value that fits a schema; a record that holds itself ends in null."""
    if "$ref" in schema:
        known = components.get(str(schema["$ref"]).removeprefix(_REFERENCE), {})
        return _example(known, components, depth + 1) if depth < 8 else None
    for word in ("default", "const"):
        if word in schema:
            return schema[word]
    if "examples" in schema or "enum" in schema:
        return (schema.get("examples") or schema["enum"])[0]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], components, depth)
    if schema.get("type") == "object":
        fields, required = schema.get("properties", {}), schema.get("required", [])
        return {name: _example(fields[name], components, depth + 1) for name in required}
    if schema.get("type") == "array":
        few = max(1, schema.get("minItems", 1))
        items = schema.get("prefixItems") or [schema.get("items") or {}] * few
        return [_example(each or {}, components, depth + 1) for each in items]
    plain = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "null": None}
    found = plain.get(schema.get("type", ""))
    return max(found, schema["minimum"]) if isinstance(found, int | float) and "minimum" in schema else found


KIND = StructureKind()

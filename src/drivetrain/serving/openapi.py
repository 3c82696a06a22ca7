"""The OpenAPI description of a service, from what its routes say and the signature of the version that answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.kinds.kind import kind_named
from drivetrain.errors import RequestError
from drivetrain.serving.interface import interface_of
from drivetrain.serving.predictor import example_of
from drivetrain.serving.requests import INTEGERS
from drivetrain.serving.route import Bodies, Body

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Signature, Version
    from drivetrain.serving.live import Live
    from drivetrain.serving.route import Route
    from drivetrain.serving.service import Terms

EXAMPLE_ID = "pred-01jd8m3k200004h7wz"
# What may be wrong with any request that brings a body.
_REFUSALS = {
    400: "The body cannot be read as what its header says",
    413: "The body or the number of rows is too large",
    415: "The body's type or encoding is not known here",
    422: "A value does not fit; every problem is named",
    503: "No version is loaded yet, or too many requests are waiting",
    504: "The model did not answer in time",
}
_PROBLEMS: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "row": {"type": ["integer", "null"]},
            "field": {"type": ["string", "null"]},
            "found": {"type": "string"},
            "wanted": {"type": "string"},
        },
    },
}


def description(service: Terms, live: Live, routes: Sequence[Route], *, base: str = "") -> dict[str, Any]:
    """Return the description of some routes; its examples are real rows and can be sent as they stand.

    `base` is the path below which they are.
    """
    version = live.champion.version
    signature = version.signature
    reader = live.reader
    optional = [name for name, may_lack in zip(reader.names, reader.may_lack, strict=True) if may_lack]
    interface = interface_of(service.name, signature, max_rows=service.max_rows, optional=optional)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, service, live)
    return {
        "openapi": "3.1.0",
        # What `drivetrain client` makes a client of.
        "x-drivetrain": msgspec.to_builtins(interface),
        "info": {
            "title": service.name,
            "version": version.id,
            "description": " ".join(filter(None, (service.about, _told(version, signature)))),
        },
        **({"servers": [{"url": base}]} if base else {}),
        "paths": paths,
        "components": {
            "schemas": _components([*live.reader.columns, *signature.outputs])
            | {"Row": row_schema(live), "Prediction": prediction_schema(signature)}
        },
    }


def _told(version: Version, signature: Signature) -> str:
    if signature.task == "values":
        return f"What `{version.model}` gives: {', '.join(column.name for column in signature.outputs)}."
    return f"Predictions of `{version.model}` ({signature.task} of `{signature.label}`)."


def _components(columns: Iterable[Column]) -> dict[str, Any]:
    """Return the records that columns mention, by name."""
    found: dict[str, Any] = {}
    for column in columns:
        found |= column.form.get("components", {})
    return found


def _operation(route: Route, service: Terms, live: Live) -> dict[str, Any]:
    bodies = route.describe(live) if route.describe else Bodies({}, {route.gives: Body({})})
    told = {kind: _content(body) for kind, body in bodies.told.items()}
    responses: dict[str, Any] = {str(route.status): {"description": "Answered", "content": told}}
    if route.takes:
        responses |= {str(status): _refusal(route, status, text) for status, text in _REFUSALS.items()}
    responses["default"] = _refusal(route, 500, "Anything else: the error says what")
    name = f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path.lower()).strip('_') or 'root'}"
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": (route.handle.__doc__ or "").strip().splitlines()[0].rstrip("."),
        "responses": responses,
    }
    if parameters := re.findall(r"{(\w+)}", route.path):
        versions = [each.version for each in (live.champion, live.challenger) if each]
        known = {"model": [service.model], "version": [str(each.number) for each in versions]}
        operation["parameters"] = [
            {
                "name": each,
                "in": "path",
                "required": True,
                "schema": {"type": "string", **({"enum": known[each]} if each in known else {})},
            }
            for each in parameters
        ]
    if bodies.asked:
        content = {kind: _content(body) for kind, body in bodies.asked.items()}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _content(body: Body) -> dict[str, Any]:
    examples = {name: {"value": value} for name, value in body.examples.items()}
    return {"schema": body.schema, **({"examples": examples} if examples else {})}


def _refusal(route: Route, status: int, text: str) -> dict[str, Any]:
    """Return how a route tells an error: the form is read off one that it writes."""
    example = msgspec.json.decode(route.refuse(RequestError(status=status, message=text)).body)
    schema = object_of({name: {"type": "string"} for name in example})
    schema["properties"] |= {"problems": _PROBLEMS, "error_id": {"type": "string"}}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def row_schema(live: Live) -> dict[str, Any]:
    """Return the schema of one row."""
    reader = live.reader
    return {
        "type": "object",
        "properties": {column.name: schema_of(column) for column in reader.columns},
        "required": [name for name, may_lack in zip(reader.names, reader.may_lack, strict=True) if not may_lack],
        "additionalProperties": False,
    }


def example_request(live: Live) -> dict[str, Any]:
    """Return a request that the service answers, as plain values."""
    reader = live.reader
    row: dict[str, Any] = {}
    for column, kind, may_lack in zip(reader.columns, reader.types, reader.may_lack, strict=True):
        special = kind_named(column.kind)
        if special is None:
            row[column.name] = example_of(column, kind)
        elif not may_lack:
            row[column.name] = live.champion.examples.get(column.name) or special.example(column)
    plain: dict[str, Any] = msgspec.to_builtins(row)
    return plain


def schema_of(column: Column) -> dict[str, Any]:
    """Return the JSON schema of a column's values."""
    special = kind_named(column.kind)
    if special is not None:
        known = special.schema(column)
        return {"anyOf": [known, {"type": "null"}]} if column.nullable else known
    schema: dict[str, Any] = {
        "bool": {"type": "boolean"},
        "int": {"type": "integer"},
        "float": {"type": "number"},
        "str": {"type": "string"},
        "date": {"type": "string", "format": "date"},
        "datetime": {"type": "string", "format": "date-time"},
    }.get(column.kind, {})
    bits = INTEGERS.get(column.dtype, 64)
    if column.kind == "int" and abs(bits) < 64:
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if bits > 0 else (0, (1 << -bits) - 1)
        schema |= {"minimum": low, "maximum": high}
    if column.kind == "datetime" and ("time_zone" not in column.dtype or "time_zone=None" in column.dtype):
        # RFC 3339 asks for an offset, and these have none.
        text = "a time without an offset, such as 2026-01-31T09:30:00"
        schema = {"type": "string", "description": text, "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?$"}
    if column.nullable and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if column.example is not None:
        schema["examples"] = [msgspec.to_builtins(column.example)]
    return schema


def prediction_schema(signature: Signature) -> dict[str, Any]:
    """Return the schema of the answer to one row."""
    properties: dict[str, Any] = {
        "id": {"type": "string", "pattern": "^pred-[0-9a-z]{18}$"},
        "version": {"type": "string"},
    }
    if signature.task == "binary":
        text = f"the probability that {signature.label} is {msgspec.json.encode(signature.classes[-1]).decode()}"
        properties["prediction"] = {"type": "number", "minimum": 0, "maximum": 1, "description": text}
    elif signature.task == "multiclass":
        properties["prediction"] = {"enum": list(signature.classes)}
        properties["probabilities"] = {"type": "object", "additionalProperties": {"type": "number"}}
    elif signature.task == "values":
        properties["prediction"] = _values_schema(signature)
    else:
        properties["prediction"] = {"type": "number"}
    return object_of(properties)


def _values_schema(signature: Signature) -> dict[str, Any]:
    """Return the schema of what a model gives that answers with values."""
    outputs = {column.name: schema_of(column) for column in signature.outputs}
    one = next(iter(outputs.values())) if len(outputs) == 1 else object_of(outputs)
    return {"type": "array", "items": one} if signature.streams else one


def example_told(column: Column) -> Any:
    """Return an example of an output, as plain JSON."""
    special = kind_named(column.kind)
    if special is not None:
        return special.example(column)
    return {"bool": True, "int": 1, "str": "text"}.get(column.kind, 0.25)


def example_answer(live: Live) -> dict[str, Any]:
    """Return the answer to one row, as plain values."""
    version = live.champion.version
    told: dict[str, Any] = {"id": EXAMPLE_ID, "version": version.id, "prediction": 0.25}
    if version.signature.task == "multiclass":
        classes = version.signature.classes
        told["prediction"] = classes[0]
        told["probabilities"] = {str(each): round(1 / len(classes), 3) for each in classes}
    elif version.signature.task == "values":
        given = {column.name: example_told(column) for column in version.signature.outputs}
        one = next(iter(given.values())) if len(given) == 1 else given
        told["prediction"] = [one] if version.signature.streams else one
    return told


def object_of(properties: dict[str, Any], *, optional: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schema of an object that has all of these properties, but for those that may be left out."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def array_of(items: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an array.

    >>> array_of(ref("Row"))["items"]
    {'$ref': '#/components/schemas/Row'}
    """
    return {"type": "array", "items": items}


def ref(name: str) -> dict[str, Any]:
    """Return what stands for a schema that all routes share: `Row` or `Prediction`."""
    return {"$ref": f"#/components/schemas/{name}"}

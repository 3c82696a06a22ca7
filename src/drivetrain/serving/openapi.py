"""The OpenAPI description of a service, made from the signature of the version that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.kinds.kind import kind_named
from drivetrain.serving.predictor import example_of
from drivetrain.serving.requests import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Signature, Version
    from drivetrain.serving.live import Live
    from drivetrain.serving.service import Terms

_EXAMPLE_ID = "pred-01jd8m3k200004h7wz"


def description(service: Terms, live: Live) -> dict[str, Any]:
    """Return the description; its examples are real rows and can be sent as they stand."""
    version = live.champion.version
    signature = version.signature
    reader = live.reader
    row = example_request(live)
    rows = {
        "type": "object",
        "properties": {column.name: schema_of(column) for column in reader.columns},
        "required": [name for name, may_lack in zip(reader.names, reader.may_lack, strict=True) if not may_lack],
        "additionalProperties": False,
    }
    answer = {"id": _EXAMPLE_ID, "version": version.id, **_example_answer(signature)}
    label = {"id": _EXAMPLE_ID, "label": signature.classes[-1] if signature.classes else 1.0}
    refused = {code: _refusal(text) for code, text in _REFUSALS.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": service.name,
            "version": version.id,
            "description": _told(version, signature),
        },
        "paths": {
            "/predict": {
                "post": {
                    "operationId": "predict",
                    "summary": "Answer one row, or an array of rows",
                    "requestBody": _json_body(
                        {"oneOf": [_ref("Row"), {"type": "array", "items": _ref("Row"), "maxItems": service.max_rows}]},
                        {"one row": row, "two rows": [row, row]},
                    ),
                    "responses": {
                        "200": _answer(
                            {"oneOf": [_ref("Prediction"), _ref("Predictions")]},
                            {"one row": answer, "two rows": {"predictions": [answer, answer]}},
                        ),
                        **refused,
                        "504": _refusal("The model did not answer in time"),
                    },
                }
            },
            "/feedback": {
                "post": {
                    "operationId": "feedback",
                    "summary": "Tell what turned out to be true, by prediction id or by the row's key",
                    "requestBody": _json_body(
                        {"oneOf": [_ref("Label"), {"type": "array", "items": _ref("Label")}]},
                        {"one label": label, "two labels": [label, label]},
                    ),
                    "responses": {
                        "200": _answer(
                            _object({"accepted": {"type": "integer"}}),
                            {"one label": {"accepted": 1}},
                        ),
                        **refused,
                    },
                }
            },
            "/healthz": _get("Whether the process lives"),
            "/readyz": _get("Whether there is a version to answer with", failing="No version is loaded yet"),
            "/version": _get("Which versions answer", failing="No version is loaded yet"),
            "/service.proto": _get("The gRPC service with these columns", failing="No version yet", kind="text/plain"),
            "/metrics": _get("The counters of all workers, for Prometheus", kind="text/plain"),
        },
        "components": {
            "schemas": _components([*reader.columns, *signature.outputs])
            | {
                "Row": rows,
                "Prediction": _prediction_schema(signature),
                "Predictions": _object({"predictions": {"type": "array", "items": _ref("Prediction")}}),
                "Label": _label_schema(signature),
                "Refusal": _REFUSAL_SCHEMA,
            }
        },
    }


def _told(version: Version, signature: Signature) -> str:
    if signature.task == "values":
        return f"What `{version.model}` gives: {', '.join(column.name for column in signature.outputs)}."
    return f"Predictions of `{version.model}` ({signature.task} of `{signature.label}`)."


_REFUSALS = {
    "400": "The body is not JSON",
    "413": "The body or the number of rows is too large",
    "415": "The body's type is not application/json",
    "422": "A value does not fit; every problem is named",
    "503": "No version is loaded yet, or too many requests are waiting",
}
_REFUSAL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {"type": "string"},
        "error_id": {"type": "string"},
        "problems": {
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
        },
    },
    "required": ["error"],
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
            row[column.name] = special.example(column)
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
    if column.kind == "datetime" and "time_zone" not in column.dtype:
        # RFC 3339 asks for an offset, and these have none.
        schema = {"type": "string", "description": "a time without an offset, such as 2026-01-31T09:30:00"}
    if column.nullable and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if column.example is not None:
        schema["examples"] = [msgspec.to_builtins(column.example)]
    return schema


def _prediction_schema(signature: Signature) -> dict[str, Any]:
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
    return _object(properties)


def _values_schema(signature: Signature) -> dict[str, Any]:
    """Return the schema of what a model gives that answers with values."""
    outputs = {column.name: schema_of(column) for column in signature.outputs}
    one = next(iter(outputs.values())) if len(outputs) == 1 else _object(outputs)
    return {"type": "array", "items": one} if signature.streams else one


def _components(columns: Iterable[Column]) -> dict[str, Any]:
    """Return the records that columns mention, by name."""
    found: dict[str, Any] = {}
    for column in columns:
        found |= column.form.get("components", {})
    return found


def _label_schema(signature: Signature) -> dict[str, Any]:
    label: dict[str, Any] = {"enum": list(signature.classes)}
    if signature.judged_as == "regression":
        label = {"type": "number"}
    elif signature.judged_as == "values":
        label = {"type": ["number", "string", "boolean"]}
    by_id = _object({"id": {"type": "string"}, "label": label})
    by_key = _object({"key": {"type": ["string", "integer"]}, "label": label})
    return {"oneOf": [by_id, by_key]} if signature.roles.key else by_id


def _example_answer(signature: Signature) -> dict[str, Any]:
    if signature.task == "multiclass":
        shares = {str(each): round(1 / len(signature.classes), 3) for each in signature.classes}
        return {"prediction": signature.classes[0], "probabilities": shares}
    if signature.task == "values":
        told = {column.name: example_told(column) for column in signature.outputs}
        one = next(iter(told.values())) if len(told) == 1 else told
        return {"prediction": [one] if signature.streams else one}
    return {"prediction": 0.25}


def example_told(column: Column) -> Any:
    """Return an example of an output, as plain JSON."""
    special = kind_named(column.kind)
    if special is not None:
        return special.example(column)
    return {"bool": True, "int": 1, "str": "text"}.get(column.kind, 0.25)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json_body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": _content(schema, examples)}}


def _answer(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    return {"description": "Answered", "content": {"application/json": _content(schema, examples)}}


def _content(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    return {"schema": schema, "examples": {name: {"value": value} for name, value in examples.items()}}


def _refusal(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _ref("Refusal")}}}


def _get(summary: str, *, failing: str = "", kind: str = "application/json") -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": summary, "content": {kind: {}}}}
    if failing:
        responses["503"] = _refusal(failing)
    return {"get": {"summary": summary, "responses": responses}}

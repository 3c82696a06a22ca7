"""The OpenAPI description of a service, made from the signature of the version that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.serving.predictor import example_of
from drivetrain.serving.requests import INTEGERS

if TYPE_CHECKING:
    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Signature
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
            "description": f"Predictions of `{version.model}` ({signature.task} of `{signature.label}`).",
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
            "schemas": {
                "Row": rows,
                "Prediction": _prediction_schema(signature),
                "Predictions": _object({"predictions": {"type": "array", "items": _ref("Prediction")}}),
                "Label": _label_schema(signature),
                "Refusal": _REFUSAL_SCHEMA,
            }
        },
    }


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
    row = {column.name: example_of(column, kind) for column, kind in zip(reader.columns, reader.types, strict=True)}
    plain: dict[str, Any] = msgspec.to_builtins(row)
    return plain


def schema_of(column: Column) -> dict[str, Any]:
    """Return the JSON schema of a column's values."""
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
    else:
        properties["prediction"] = {"type": "number"}
    return _object(properties)


def _label_schema(signature: Signature) -> dict[str, Any]:
    label: dict[str, Any] = {"type": "number"} if signature.task == "regression" else {"enum": list(signature.classes)}
    by_id = _object({"id": {"type": "string"}, "label": label})
    by_key = _object({"key": {"type": ["string", "integer"]}, "label": label})
    return {"oneOf": [by_id, by_key]} if signature.roles.key else by_id


def _example_answer(signature: Signature) -> dict[str, Any]:
    if signature.task == "multiclass":
        shares = {str(each): round(1 / len(signature.classes), 3) for each in signature.classes}
        return {"prediction": signature.classes[0], "probabilities": shares}
    return {"prediction": 0.25}


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

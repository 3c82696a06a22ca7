"""The contract of a service for gRPC: a message with a typed field for each column, as the text of a .proto file."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from drivetrain.serving.requests import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Signature
    from drivetrain.serving.live import Live

# Field numbers of protobuf: those below are kept free, and the range reserved by protobuf ends at 19999.
_FIRST, _LAST = 20_000, (1 << 29) - 1
_KINDS = {"bool": "bool", "float": "double", "str": "string", "date": "string", "datetime": "string"}
_WORDS = {
    "date": "a date: 2026-01-31",
    "datetime": "a time: 2026-01-31T09:30:00",
    "other": "JSON text",
}


class Field(NamedTuple):
    """A column as a field: `type` is that of proto3, and `number` follows from the column's name and the type alone."""

    column: str
    name: str
    type: str
    number: int


def fields_of(columns: Sequence[Column]) -> list[Field]:
    """Return the field of each column.

    A column keeps its number while its name and type stay, whatever other columns come, go or move; one whose type
    changes gets another. A client that was made for an older signature can then be refused, but never misunderstood.

    >>> from drivetrain.data.schema import Column
    >>> fields_of([Column(name="wind (m/s)", kind="float", dtype="Float64")])
    [Field(column='wind (m/s)', name='wind__m_s_', type='double', number=347124576)]
    """
    names = _names([column.name for column in columns])
    fields, taken = [], set[int]()
    for column, name in zip(columns, names, strict=True):
        kind = type_of(column)
        number = _digest(f"{column.name}\0{kind}") % (_LAST - _FIRST + 1) + _FIRST
        while number in taken:
            number = number + 1 if number < _LAST else _FIRST
        taken.add(number)
        fields.append(Field(column.name, name, kind, number))
    return fields


def type_of(column: Column) -> str:
    """Return the type of proto3 for a column's values."""
    if column.kind == "int":
        bits = INTEGERS.get(column.dtype, 64)
        return f"{'int' if bits > 0 else 'uint'}{64 if abs(bits) == 64 else 32}"
    if column.kind == "float" and column.dtype == "Float32":
        return "float"
    return _KINDS.get(column.kind, "string")


def identifier(name: str) -> str:
    """Return a name as proto3 takes it.

    >>> identifier("mean radius"), identifier("2nd")
    ('mean_radius', 'f_2nd')
    """
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return plain if plain[:1].isalpha() else f"f_{plain}"


def _names(columns: Sequence[str]) -> list[str]:
    """Return a field name for each column: its own where it can be one, else with what cannot stand there replaced."""
    names = [identifier(column) for column in columns]
    # Compilers of proto3 refuse names that differ in their case or underscores only.
    alike = [name.replace("_", "").lower() for name in names]
    return [
        f"{name}_{_digest(column) % 16**6:06x}" if alike.count(like) > 1 and alike.index(like) < place else name
        for place, (name, like, column) in enumerate(zip(names, alike, columns, strict=True))
    ]


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def class_type(signature: Signature) -> str:
    """Return the type of proto3 for what was true; classes of mixed types are JSON text."""
    if signature.task == "regression":
        return "double"
    found = {type(each) for each in signature.classes}
    return {bool: "bool", int: "int64", float: "double"}.get(found.pop(), "string") if len(found) == 1 else "string"


def is_json(signature: Signature) -> bool:
    """Return whether classes are told as JSON text, since they are neither all texts nor all of one plain type."""
    return class_type(signature) == "string" and {type(each) for each in signature.classes} != {str}


def key_type(signature: Signature) -> str | None:
    """Return the type of proto3 for keys; None where rows have none."""
    key = signature.roles.key
    column = next((each for each in signature.request if each.name == key), None)
    return type_of(column) if column else None


def package_of(service: str) -> str:
    """Return the package of a service's contract.

    >>> package_of("delays")
    'drivetrain.delays'
    """
    return f"drivetrain.{identifier(service)}"


def contract(service: str, live: Live) -> str:
    """Return the contract as the text of a .proto file."""
    signature = live.champion.version.signature
    reader = live.reader
    rows = "\n".join(
        line
        for column, field, may_lack in zip(reader.columns, fields_of(reader.columns), reader.may_lack, strict=True)
        for line in (f"  // {_told(column, may_lack)}", f"  optional {field.type} {field.name} = {field.number};")
    )
    label = class_type(signature)
    # A number of its own for each type: a client made for another one is refused, and not misunderstood.
    number = {"double": 3, "int64": 5, "string": 6, "bool": 7}[label]
    if signature.task == "multiclass":
        answer = (
            f"  // The likeliest class{', as JSON text' if is_json(signature) else ''}.\n"
            f"  {label} prediction = {number};\n"
            "  // The probability of each class.\n"
            "  map<string, double> probabilities = 4;"
        )
    elif signature.task == "binary":
        text = msgspec.json.encode(signature.classes[-1]).decode()
        answer = f"  // The probability that {_line(signature.label)} is {text}.\n  double prediction = 3;"
    else:
        answer = "  double prediction = 3;"
    key = key_type(signature)
    keys = f"  optional {key} key = {2 if key == 'string' else 4};\n" if key else ""
    return _TEXT.format(
        title=_line(f"{service}: {signature.task} of {signature.label}"),
        package=package_of(service),
        rows=rows,
        answer=answer,
        by=" or by the key of its row" if key else "",
        key=keys,
        truth=f"  // {'JSON text: ' if is_json(signature) else ''}{_truths(signature)}",
        label=f"  optional {label} label = {number};",
    )


def _truths(signature: Signature) -> str:
    if signature.task == "regression":
        return "a number"
    shown = [msgspec.json.encode(each).decode() for each in signature.classes[:12]]
    return _line(f"one of {', '.join(shown)}{', …' if len(signature.classes) > 12 else ''}")


def _told(column: Column, may_lack: bool) -> str:
    """Return what a column is, in one line."""
    words = [_WORDS[column.kind]] if column.kind in _WORDS else []
    if column.example is not None:
        words.append(f"such as {shown(column.example)}")
    words.append("may be unset" if may_lack else "required")
    return _line(f"{column.name}: {', '.join(words)}")


def shown(example: Any) -> str:
    """Return an example in one short line."""
    text = example if isinstance(example, str) else msgspec.json.encode(example).decode()
    return text if len(text) <= 60 else f"{text[:59]}…"


def _line(text: str) -> str:
    return " ".join(text.split())


_TEXT = """\
// {title}. Made from the signature of the version that answers; an unset field is null.
//
// The number of a field follows from its column's name and type alone. It stays when other columns come or go, and an
// older client is refused by name where it no longer fits.
syntax = "proto3";

package {package};

service Predictor {{
  rpc Predict(Row) returns (Prediction);
  // All rows or none.
  rpc PredictBatch(Rows) returns (Predictions);
  // An answer for each row, in the order of the rows; a row that is refused does not end the stream.
  rpc PredictStream(stream Row) returns (stream Answer);
  // What turned out to be true; on the disk when this answers.
  rpc Feedback(Labels) returns (Accepted);
}}

message Row {{
{rows}
}}

message Rows {{
  repeated Row rows = 1;
}}

message Prediction {{
  // What feedback and `drivetrain why` take.
  string id = 1;
  string version = 2;
{answer}
}}

message Predictions {{
  repeated Prediction predictions = 1;
}}

message Answer {{
  oneof answer {{
    Prediction prediction = 1;
    Refusal refusal = 2;
  }}
}}

message Refusal {{
  // A status code of gRPC, such as 3 for INVALID_ARGUMENT.
  int32 code = 1;
  string error = 2;
  repeated Problem problems = 3;
}}

message Problem {{
  string field = 1;
  string found = 2;
  string wanted = 3;
}}

// The prediction is named by its id{by}.
message Label {{
  optional string id = 1;
{key}{truth}
{label}
}}

message Labels {{
  repeated Label labels = 1;
}}

message Accepted {{
  int64 accepted = 1;
}}
"""

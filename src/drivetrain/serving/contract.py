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
    from drivetrain.serving.requests import Reader

# Field numbers of protobuf: those below are kept free, and the range reserved by protobuf ends at 19999.
_FIRST, _LAST = 20_000, (1 << 29) - 1
_KINDS = {"bool": "bool", "float": "double", "str": "string", "date": "string", "datetime": "string"}
_WORDS = {
    "date": "a date: 2026-01-31",
    "datetime": "a time: 2026-01-31T09:30:00",
    "image": "an image in base64",
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
        number = _digest(f"{column.name}\0{'json' if is_json(column) else kind}") % (_LAST - _FIRST + 1) + _FIRST
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


class Value(NamedTuple):
    """A value as a field: what its type of proto3 is, and whether it is a text that holds JSON."""

    type: str
    is_json: bool = False

    @property
    def number(self) -> int:
        """The field's number, one for each type: a client made for another one is refused, and not misunderstood."""
        return 8 if self.is_json else {"double": 3, "int64": 5, "string": 6, "bool": 7}[self.type]


_JSON = Value("string", is_json=True)


def answer_of(signature: Signature) -> Value:
    """Return how a prediction is told: what no field can have as it is comes as JSON."""
    if signature.task == "multiclass":
        return _class(signature)
    if signature.task != "values":
        return Value("double")
    if len(signature.outputs) != 1 or signature.streams:
        return _JSON
    kinds = {"bool": "bool", "int": "int64", "float": "double", "str": "string"}
    kind = signature.outputs[0].kind
    return Value(kinds[kind]) if kind in kinds and not signature.outputs[0].nullable else _JSON


def label_of(signature: Signature) -> Value:
    """Return how it is told what was true."""
    if signature.judged_as == "values":
        return _JSON
    return Value("double") if signature.judged_as == "regression" else _class(signature)


def _class(signature: Signature) -> Value:
    kinds = {bool: "bool", int: "int64", float: "double", str: "string"}
    found = {type(each) for each in signature.classes}
    return Value(kinds[found.pop()]) if len(found) == 1 and found <= kinds.keys() else _JSON


def is_json(column: Column) -> bool:
    """Return whether a column's values are more than a field can have, and are JSON text."""
    return column.kind not in ("bool", "int", "float", "str", "date", "datetime", "image")


def key_type(signature: Signature) -> str | None:
    """Return the type of proto3 for keys; None where rows have none."""
    key = signature.roles.key
    column = next((each for each in signature.request if each.name == key), None)
    return type_of(column) if column else None


def purpose(task: str, label: str) -> str:
    """Return what a service is for.

    >>> purpose("binary", "late")
    'binary of late'
    """
    return f"{task} of {label}" if label else task


def package_of(service: str) -> str:
    """Return the package of a service's contract.

    >>> package_of("delays")
    'drivetrain.delays'
    """
    return f"drivetrain.{identifier(service)}"


def contract(service: str, signature: Signature, reader: Reader) -> str:
    """Return the contract as the text of a .proto file; `reader` has the columns of requests."""
    rows = "\n".join(
        line
        for column, field, may_lack in zip(reader.columns, fields_of(reader.columns), reader.may_lack, strict=True)
        for line in (f"  // {_told(column, may_lack)}", f"  optional {field.type} {field.name} = {field.number};")
    )
    told, label = answer_of(signature), label_of(signature)
    answer = f"  // {_answers(signature)}{', as JSON text' if told.is_json else ''}.\n"
    answer += f"  {told.type} prediction = {told.number};"
    if signature.task == "multiclass":
        answer += "\n  // The probability of each class.\n  map<string, double> probabilities = 4;"
    key = key_type(signature)
    keys = f"  optional {key} key = {2 if key == 'string' else 4};\n" if key else ""
    return _TEXT.format(
        title=_line(f"{service}: {purpose(signature.task, signature.label)}"),
        package=package_of(service),
        rows=rows,
        answer=answer,
        by=" or by the key of its row" if key else "",
        key=keys,
        truth=f"  // {'JSON text: ' if label.is_json else ''}{_truths(signature)}",
        label=f"  optional {label.type} label = {label.number};",
    )


def _answers(signature: Signature) -> str:
    """Return what a prediction is, in words."""
    if signature.task == "binary":
        return _line(f"The probability that {signature.label} is {shown(signature.classes[-1])}")
    if signature.task == "multiclass":
        return "The likeliest class"
    names = _line(", ".join(column.name for column in signature.outputs) or signature.label)
    return f"{names}{', the pieces one after another' if signature.streams else ''}"


def _truths(signature: Signature) -> str:
    if signature.judged_as == "values":
        return "a number, a text, true or false"
    if signature.judged_as == "regression":
        return "a number"
    names = [msgspec.json.encode(each).decode() for each in signature.classes[:12]]
    return _line(f"one of {', '.join(names)}{', …' if len(signature.classes) > 12 else ''}")


def _told(column: Column, may_lack: bool) -> str:
    """Return what a column is, in one line."""
    words = ["JSON text"] if is_json(column) else [_WORDS[column.kind]] if column.kind in _WORDS else []
    if column.example is not None:
        words.append(f"such as {shown(column.example)}")
    words.append("may be unset" if may_lack else "required")
    return _line(f"{column.name}: {', '.join(words)}")


def shown(example: Any) -> str:
    """Return an example in one short line."""
    text = example if isinstance(example, str) else msgspec.json.encode(example).decode()
    return text if len(text) <= 60 else f"{text[:59]}…"


def without_comments(text: str) -> list[str]:
    r"""Return the lines of a contract that say something to a compiler.

    >>> without_comments("// a comment\n\nmessage Row {}")
    ['message Row {}']
    """
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("//")]


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

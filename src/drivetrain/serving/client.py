"""Typed Python clients: a module for one service that needs nothing but Python, as text."""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import cache
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from drivetrain.serving.contract import identifier, purpose, shown
from drivetrain.serving.requests import has_zone

if TYPE_CHECKING:
    from jinja2 import Template

    from drivetrain.data.schema import Column
    from drivetrain.serving.interface import Interface

# Names that a row's own methods, or the types in its annotations, have.
_TAKEN = {"date", "datetime", "Any", "Row"}
_WORDS = {"bool": "true or false", "str": "a text", "date": "a date", "image": "an image in base64"}
_TYPES = {
    "bool": "bool",
    "int": "int",
    "float": "float",
    "str": "str",
    "date": "date",
    "datetime": "datetime",
    "image": "str",
}
_SIGNATURE = re.compile(r'^SIGNATURE = "(\w+)"$', re.MULTILINE)


class Attribute(NamedTuple):
    """A column as an attribute of a row."""

    column: str
    name: str
    type: str
    told: str
    may_lack: bool


def client(interface: Interface) -> str:
    """Return the module of a client."""
    attributes = attributes_of(interface)
    classes = _classes(interface)
    return _template().render(
        interface=interface,
        title=_line(purpose(interface.task, interface.label)),
        attributes=attributes,
        renamed=[each for each in attributes if each.name != each.column],
        imports=[kind for kind in ("date", "datetime") if any(each.type == kind for each in attributes)],
        truth=_line(f"{interface.label} is {shown(classes[-1])}") if classes else "",
        values=[_literal(each) for each in classes],
        is_narrow=all(type(each) in (str, int, bool) for each in classes) and len(classes) > 1,
        class_type=" | ".join(sorted({type(each).__name__ for each in classes})) or interface.truth,
        by_text=[(_json_key(each), _literal(each)) for each in classes],
        key_type=_TYPES.get(next((each.kind for each in interface.columns if each.name == interface.key), ""), ""),
        example=_example(interface, attributes),
        quoted=_literal,
    )


def signature_in(text: str) -> str:
    """Return the digest of the signature that a client was made for; empty where the text is no client.

    >>> signature_in('SIGNATURE = "0123456789abcdef"')
    '0123456789abcdef'
    """
    found = _SIGNATURE.search(text)
    return found[1] if found else ""


def attributes_of(interface: Interface) -> list[Attribute]:
    """Return the attributes of a row, those that must be given first."""
    found: list[Attribute] = []
    taken = set(_TAKEN)
    for column in interface.columns:
        name = column.name if column.name.isidentifier() else identifier(column.name)
        if name.startswith("_"):
            name = f"f{name}"
        while name in taken or iskeyword(name):
            name += "_"
        taken.add(name)
        may_lack = column.name in interface.optional
        found.append(Attribute(column.name, name, _TYPES.get(column.kind, "Any"), _told(column, name), may_lack))
    return sorted(found, key=lambda each: each.may_lack)


def _told(column: Column, name: str) -> str:
    """Return what a column is, in one line that can stand in a docstring."""
    if column.kind == "datetime":
        words = ["with its offset" if has_zone(column) else "without an offset"]
    else:
        words = [column.dtype if column.kind in ("int", "float") else _WORDS.get(column.kind, "a value of JSON")]
    if column.example is not None and column.kind not in ("date", "datetime"):
        words.append(f"such as {shown(column.example)}")
    if column.nullable:
        words.append("None where it is not known")
    lead = "" if name == column.name else f"{column.name}: "
    return _line(lead + ", ".join(words))


def _line(text: str) -> str:
    """Return text as it can stand in one line of a docstring."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace('"', "'")
    return plain if len(plain) <= 100 else f"{plain[:99]}…"


def _classes(interface: Interface) -> list[Any]:
    return interface.classes if interface.task in ("binary", "multiclass") else []


def _json_key(value: Any) -> str:
    """Return what stands for a class in the probabilities of an answer."""
    return _literal(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _literal(value: Any) -> str:
    """Return a plain value as Python has it, with the quotes that formatters want."""
    if not isinstance(value, str):
        return repr(value)
    text = repr(value)
    return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text and "\\'" not in text else text


def _example(interface: Interface, attributes: list[Attribute]) -> str:
    columns = {column.name: column for column in interface.columns}
    given = [f"{each.name}={_value(columns[each.column])}" for each in attributes if not each.may_lack]
    text = ", ".join(given)
    return _line_of_code(text) if len(text) <= 88 else _line_of_code(", ".join(given[:2]) + ", ...")


def _line_of_code(text: str) -> str:
    return text.replace("\\", "\\\\")


def _value(column: Column) -> str:
    """Return a column's example as the expression that makes it."""
    plain: dict[str, Any] = {"bool": True, "int": 1, "float": 1.0, "str": "text", "date": "2026-01-31"}
    example = plain.get(column.kind, "2026-01-31T09:30:00") if column.example is None else column.example
    if column.kind == "date":
        found = msgspec.convert(example, date)
        return f"date({found.year}, {found.month}, {found.day})"
    if column.kind == "datetime":
        moment = msgspec.convert(example, datetime)
        return f'datetime.fromisoformat("{moment.isoformat()}")'
    return _literal(example)


@cache
def _template() -> Template:
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    text = (files("drivetrain.serving") / "client.py.jinja").read_text("utf-8")
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # Python, not HTML
    )
    return environment.from_string(text)

"""JSON that gives back what was put in: msgspec's, plus the numbers that JSON itself has no word for.

A number that is not finite is written as `{"$float": "NaN"}`, `{"$float": "Infinity"}` or `{"$float": "-Infinity"}`,
where most writers put `null` or something that is not JSON.
"""

from __future__ import annotations

from math import isinf, isnan
from typing import Any, Literal

import msgspec

from drivetrain.errors import Unkeepable

MARK = "$float"
_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


_RIGHT = (
    "give frames, arrays and models each a step (or an output) of their own, and keep numbers, text, lists and dicts "
    "here; `.tolist()` makes a list of an array"
)


def encode(value: Any) -> bytes:
    """Return a value as JSON, the keys of a dict in alphabetical order: equal values give equal bytes.

    Raises:
        Unkeepable: it holds something that JSON cannot give back; `where` is the way to it, such as `['scores'][0]`.

    >>> encode({"b": float("inf"), "a": None})
    b'{"a":null,"b":{"$float":"Infinity"}}'
    """
    return _encoded(value, "deterministic")


def encode_in_order(value: Any) -> bytes:
    """Return a value as JSON, the keys of a dict in their own order; it raises what `encode` does.

    >>> encode_in_order({"b": float("inf"), "a": None})
    b'{"b":{"$float":"Infinity"},"a":null}'
    """
    return _encoded(value, None)


def _encoded(value: Any, order: Literal["deterministic"] | None) -> bytes:
    try:
        data = msgspec.json.encode(value, order=order, enc_hook=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        culprit = _culprit(value, "", 0)
        if culprit is not None:
            where, found = culprit
            raise Unkeepable(where=where, found=found, right=_RIGHT) from error
    else:
        # msgspec writes null for a number that is not finite, and only such a dict can be taken for one.
        if b"null" not in data and b'{"$float":' not in data:
            return data
    # Keys that are numbers become text here; a consumer's annotation makes numbers of them again.
    plain = msgspec.to_builtins(value, str_keys=True, order=order, enc_hook=_plain)
    return msgspec.json.encode(_marked(plain, ""), order=order)


def decode(data: bytes | str, form: Any = Any) -> Any:
    """Return the value again, as the type `form` where that is given.

    >>> decode(encode({3: float("-inf")}), dict[int, float])
    {3: -inf}
    """
    if (b'{"$float":' if isinstance(data, bytes) else '{"$float":') not in data:  # type: ignore[operator]
        return msgspec.json.decode(data, type=form)
    plain = _unmarked(msgspec.json.decode(data))
    return plain if form is Any else msgspec.convert(plain, form, str_keys=True)


def _plain(value: Any) -> Any:
    """Return a numpy scalar as Python's own number; msgspec asks for what it does not know."""
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__}")


def _culprit(value: Any, where: str, depth: int) -> tuple[str, str] | None:
    """Return the way to the first thing that cannot be written, and what it is."""
    if depth > 200:
        return where[:40] + "…", "nested too deep, or holds itself"
    children: list[tuple[str, Any]]
    if value is None or isinstance(value, (int, float)):
        return None
    if isinstance(value, dict):
        texts = {key: _key_text(key) for key in value}
        for key, text in texts.items():
            if text is None:
                return where, f"a dict with the key {key!r}, a {type(key).__name__}"
        if len(set(texts.values())) < len(texts):
            return where, "a dict in which a number and a text would become the same key"
        children = [(f"{where}[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        children = [(f"{where}[{number}]", item) for number, item in enumerate(value)]
    elif isinstance(value, (set, frozenset)):
        children = [(f"{where}{{…}}", item) for item in value]
    elif isinstance(value, msgspec.Struct) or hasattr(type(value), "__dataclass_fields__"):
        names = getattr(type(value), "__struct_fields__", None) or type(value).__dataclass_fields__
        children = [(f"{where}.{name}", getattr(value, name, None)) for name in names]
    else:
        try:
            msgspec.json.encode(value, enc_hook=_plain)
        except UnicodeError as error:
            return where, f"text that is not Unicode: {error}"
        except (TypeError, ValueError):
            return where, f"a {type(value).__module__.partition('.')[0]}.{type(value).__qualname__}"
        return None
    return next((found for place, item in children if (found := _culprit(item, place, depth + 1))), None)


def _key_text(key: Any) -> str | None:
    """Return a key of a dict as JSON writes it, or None when it cannot."""
    try:
        (text,) = msgspec.to_builtins({key: None}, str_keys=True, enc_hook=_plain)
    except (TypeError, ValueError):
        return None
    return str(text)


def _marked(value: Any, where: str) -> Any:
    if isinstance(value, float):
        if isnan(value):
            return {MARK: "NaN"}
        return {MARK: "Infinity" if value > 0 else "-Infinity"} if isinf(value) else value
    if isinstance(value, dict):
        if _number(value) is not None:
            raise Unkeepable(
                where=where,
                found=f"a dict whose one key is {MARK!r}, which stands for a number here",
                right="rename it",
            )
        return {key: _marked(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(item, f"{where}[{number}]") for number, item in enumerate(value)]
    return value


def _number(value: dict[str, Any]) -> float | None:
    """Return the number that a dict stands for, or None when it is a dict like any other."""
    word = value.get(MARK) if len(value) == 1 else None
    return _WORDS.get(word) if isinstance(word, str) else None


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        number = _number(value)
        return number if number is not None else {key: _unmarked(item) for key, item in value.items()}
    return [_unmarked(item) for item in value] if isinstance(value, list) else value

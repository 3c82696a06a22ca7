"""A value that code uses, as a digest of what it holds: the same in every process, and wherever the project lies."""

from __future__ import annotations

import os
import re
from enum import Enum
from functools import cached_property, partial, partialmethod, singledispatchmethod
from hashlib import sha256
from pathlib import PurePath
from pprint import pformat
from types import BuiltinMethodType, FunctionType, MappingProxyType, MethodType, MethodWrapperType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from drivetrain.pipeline.ownership import module_is_users
from drivetrain.system.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable

_ATOMS = frozenset({bool, int, float, complex, str, bytes, bytearray, type(None), type(...), type(NotImplemented)})
# Their text says all that they hold, in one way.
_TOLD = frozenset(
    {
        *("range", "slice", "date", "datetime", "time", "timedelta", "timezone", "ZoneInfo"),
        *("Decimal", "Fraction", "UUID", "itemgetter", "attrgetter"),
    }
)
# They hold nothing, or nothing that a result could depend on.
_HOLLOW = frozenset({"lock", "RLock", "Logger", "RootLogger", "_abc_data"})
_CODE = (FunctionType, type, ModuleType, staticmethod, classmethod, property)
_SECRET_NAME = re.compile(r"secret|token|passw|credential|api_?key|private", re.IGNORECASE)
_ENVIRONMENT_LONG = 6
_TEXT_LONG = 4_000


class Constant(NamedTuple):
    """The digest of a value, the code that it leads to, and the types in it whose contents cannot be told."""

    digest: str
    reached: list[Any]
    opaque: list[str]


def constant_of(value: Any, *, root: str) -> Constant:
    """Return what stands for a value in a key. `root` is the project's folder with its slash.

    >>> constant_of({"a", "b"}, root="/p/").digest == constant_of({"b", "a"}, root="/p/").digest
    True
    >>> constant_of(1, root="/p/").digest == constant_of(1.0, root="/p/").digest
    False
    """
    reader = _Reader(root)
    try:
        reader.take(value)
    except RecursionError:
        reader.opaque.append(f"{type(value).__qualname__}, which is nested too deeply")
    digest = reader.digest()
    return Constant(digest, reader.reached, list(dict.fromkeys(reader.opaque)))


def text_of(name: str, value: Any) -> str:
    """Return a value as text to be compared by people; empty where it must not or cannot be shown.

    A value that stands in the environment may be a secret, and so may one whose name says so.

    >>> text_of("LIMIT", 3), text_of("API_TOKEN", "abc")
    ('3', '')
    """
    if _SECRET_NAME.search(name):
        return ""
    try:
        shown = pformat(value, width=100, sort_dicts=False) if _is_small(value) else repr(value)
    except Exception:  # whatever a repr of the user's raises, it does not tell what the object holds
        return ""
    shown = shown[:_TEXT_LONG]
    if " at 0x" in shown:
        return ""
    secret = any(len(known) >= _ENVIRONMENT_LONG and known in shown for known in os.environ.values())
    return "" if secret else shown


class _Reader:
    """Takes a value apart into tokens, and digests these."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.reached: list[Any] = []
        self.opaque: list[str] = []
        self._state = sha256()
        # Objects on the way down, by identity: one that holds itself is told by its number. They are kept alive.
        self._seen: dict[int, tuple[int, Any]] = {}

    def digest(self) -> str:
        return self._state.hexdigest()[:16]

    def token(self, *texts: str) -> None:
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            self._state.update(b"%d:" % len(data) + data)

    def take(self, value: Any) -> None:
        kind = type(value)
        if kind in _ATOMS:
            self.token(kind.__name__, self._located(value) if kind is str else repr(value))
            return
        known = self._seen.get(id(value))
        # An immutable value may be one object or two, as the compiler likes.
        if known is not None and kind not in (tuple, frozenset):
            self.token("again", str(known[0]))
            return
        self._seen[id(value)] = (len(self._seen), value)
        if isinstance(value, _CODE) or hasattr(value, "__wrapped__"):
            self._code(value)
        elif kind in (list, tuple):
            self._items(kind.__name__, value)
        elif kind in (dict, MappingProxyType):
            self._mapping(value)
        elif kind in (set, frozenset):
            self._unordered(kind.__name__, value)
        elif isinstance(value, Enum):
            self.reached.append(kind)
            self.token("enum", kind.__qualname__, value.name)
        elif isinstance(value, PurePath):
            self.token(kind.__name__, self._located(str(value)))
        elif isinstance(value, re.Pattern):
            self.token("pattern", str(value.flags))
            self.take(value.pattern)
        elif kind.__name__ in _TOLD and not module_is_users(kind.__module__):
            self.token(kind.__name__, repr(value))
        elif kind.__name__ in _HOLLOW:
            self.token(kind.__name__)
        elif isinstance(value, cached_property):
            self._code(value.func)
        elif isinstance(value, singledispatchmethod):
            self._code(value.dispatcher)
        elif isinstance(value, (partial, partialmethod)):
            self._items(kind.__name__, [value.func, value.args, value.keywords])
        elif isinstance(value, MethodType):
            self._items("method", [value.__func__, value.__self__])
        elif isinstance(value, (BuiltinMethodType, MethodWrapperType)):
            self._native(value)
        elif isinstance(value, Part):
            self._part(value)
        else:
            self._object(value)

    def _located(self, text: str) -> str:
        """Return a path inside the project as it reads from there: a copy elsewhere is the same project."""
        if text.startswith(self.root):
            return "<project>/" + text[len(self.root) :]
        return "<project>" if text == self.root[:-1] and len(text) > 1 else text

    def _code(self, value: Any) -> None:
        self.reached.append(value)
        name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__name__)
        self.token("code", str(getattr(value, "__module__", "")), str(name))

    def _items(self, name: str, values: Any) -> None:
        self.token(name, str(len(values)))
        if len(values) > 16 and {type(item) for item in values} <= _ATOMS - {str}:
            self.token(repr(values))  # a long list of numbers at the speed of C
            return
        for item in values:
            self.take(item)

    def _mapping(self, value: Any) -> None:
        self.token("dict", str(len(value)))
        for key, item in value.items():
            self.take(key)
            self.take(item)

    def _unordered(self, name: str, values: Any) -> None:
        # The order of a set is another one in each process.
        self.token(name, str(len(values)))
        self.token(*sorted(self._apart(item) for item in values))

    def _apart(self, value: Any) -> str:
        found = constant_of(value, root=self.root)
        self.reached += found.reached
        self.opaque += found.opaque
        return found.digest

    def _native(self, value: Any) -> None:
        self.token("native", value.__qualname__)
        owner = value.__self__
        if owner is not None and not isinstance(owner, ModuleType):
            self.take(owner)  # the method of an object, such as `SEEN.append`
        else:
            self.reached.append(value)

    def _part(self, value: Part) -> None:
        self.token("part", value.ROLE, value.name)
        if value.function_of() is not None:
            self.reached.append(value.function_of())
        self._mapping(value.declared())

    def _object(self, value: Any) -> None:
        """Take an object by what it holds: its attributes and items, or what pickle would be told."""
        kind = type(value)
        self.reached.append(kind)
        self.token("object", kind.__module__, kind.__qualname__)
        home = kind.__module__.partition(".")[0]
        if home == "numpy" and hasattr(value, "dtype"):
            self._array(value)
        elif home == "polars":
            self._frame(value)
        elif isinstance(value, msgspec.Struct):
            self._mapping({name: getattr(value, name) for name in value.__struct_fields__})
        elif module_is_users(kind.__module__) and "__reduce__" not in vars(kind):
            self._mapping(_attributes(value))
            for container, take in (
                (dict, self._mapping),
                ((set, frozenset), lambda items: self._unordered("set", items)),
                ((list, tuple), lambda items: self._items("list", items)),
                ((int, float, str, bytes), lambda item: self.token(_plain(item))),
            ):
                if isinstance(value, container):
                    take(value)
        else:
            self._reduced(value)

    def _array(self, value: Any) -> None:
        self.token(str(value.dtype.descr if value.dtype.names else value.dtype.str), str(value.shape))
        if value.dtype.hasobject:
            self.take(value.tolist())
        else:
            self._state.update(value.tobytes())

    def _frame(self, value: Any) -> None:
        try:
            if hasattr(value, "meta"):  # an expression
                self._state.update(value.meta.serialize())
            elif hasattr(value, "serialize"):
                self._state.update(value.serialize())
            elif hasattr(value, "to_frame"):
                self._state.update(value.to_frame().serialize())
            else:
                self.token(repr(value))
        except Exception:  # polars has several errors of its own for what it cannot write, such as a Python function
            self.opaque.append(type(value).__qualname__)

    def _reduced(self, value: Any) -> None:
        kind = type(value)
        if "(vectorized)" in str(getattr(value, "__name__", "")):  # a ufunc around a function that it does not show
            self.opaque.append(kind.__qualname__)
            return
        function = getattr(value, "py_func", None)  # what numba has compiled
        if isinstance(function, FunctionType):
            self._code(function)
            return
        try:
            found = value.__reduce_ex__(4)
        except Exception:  # what an object raises when it cannot be taken apart is its own affair
            self.opaque.append(kind.__qualname__)
            return
        if isinstance(found, str):
            self.token(found)
            return
        call, arguments, state, items, pairs = (*found, *(None,) * 5)[:5]
        self.token(getattr(call, "__qualname__", type(call).__qualname__))
        for item in (arguments, state, None if items is None else list(items), None if pairs is None else list(pairs)):
            self.take(item)


def _attributes(value: Any) -> dict[str, Any]:
    """Return what an object of the user's keeps in its dictionary and its slots."""
    kind = type(value)
    # What a cached property has worked out follows from the rest.
    found = {
        name: held
        for name, held in getattr(value, "__dict__", {}).items()
        if not isinstance(getattr(kind, name, None), cached_property)
    }
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def _plain(value: Any) -> str:
    for kind in (int, float, str, bytes):
        if isinstance(value, kind):
            show: Callable[[Any], str] = kind.__repr__
            return show(value)
    raise TypeError(type(value).__name__)


def _is_small(value: Any) -> bool:
    return not hasattr(value, "__len__") or len(value) <= 200

"""What a client sends, read and checked against a version's signature."""

from __future__ import annotations

from datetime import date, datetime
from json import JSONDecodeError, JSONDecoder
from math import isfinite, isnan
from sys import float_info
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import astuple

from drivetrain.data.kinds.kind import kind_named, logged
from drivetrain.errors import RequestError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Signature

# More than these are not told of one request.
MAX_PROBLEMS = 20
_FLOAT32_LIMIT = 3.4028235e38
_FINITE = Annotated[float, Meta(ge=-float_info.max, le=float_info.max)]
# The bits of an integer column; negative for those without a sign.
INTEGERS = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64, "UInt8": -8, "UInt16": -16, "UInt32": -32, "UInt64": -64}

Row = tuple[Any, ...]


class Misfit(NamedTuple):
    """A value that does not fit its column: what was found, and what is wanted, in words."""

    found: str
    wanted: str


class Reader:
    """Reads the body of a prediction request into rows; compiled once for a version.

    A row is a tuple with a value for each column of `columns`; what a client left out of a nullable column is None.
    `optional` are columns that may be absent although they are not nullable, such as the key. `types` are what checks
    the columns whose kind does not tell it, such as structures.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        optional: frozenset[str] = frozenset(),
        types: Mapping[str, Any] | None = None,
    ) -> None:
        self.columns, self.optional = list(columns), optional
        self.names = [column.name for column in columns]
        self.places = {name: place for place, name in enumerate(self.names)}
        self.given_types = dict(types or {})
        self.types = [self.given_types.get(column.name) or type_of(column) for column in columns]
        self.may_lack = [column.nullable or column.name in optional for column in columns]
        # A field's own name need not be an identifier, so the struct has names of ours and the client's as renames.
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
            (f"f{place}", kind | None | UnsetType, UNSET) if may_lack else (f"f{place}", kind)
            for place, (kind, may_lack) in enumerate(zip(self.types, self.may_lack, strict=True))
        ]
        struct = msgspec.defstruct(
            "Request",
            fields,
            rename={f"f{place}": name for place, name in enumerate(self.names)},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        self._one = msgspec.json.Decoder(struct).decode
        self._many = msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]
        self._raw = msgspec.json.Decoder(list[msgspec.Raw]).decode
        self._width = len(self.names)
        # Which columns so many values without names are, once that was asked; by their number, and whether numeric.
        self.unnamed: dict[tuple[int, bool], list[str] | None] = {}
        finite = [_FINITE if kind is float else kind for kind in self.types]
        kinds = [kind | None if may_lack else kind for kind, may_lack in zip(finite, self.may_lack, strict=True)]
        # A struct, as msgspec keeps what it has made of its types, and makes them of a tuple anew each time.
        checked = msgspec.defstruct(
            "Checked", [(f"f{place}", kind) for place, kind in enumerate(kinds)], array_like=True, gc=False
        )
        self._checked: Any = list[checked]  # type: ignore[valid-type]  # a type made from the signature
        # The values that are more than JSON tells, and those whose objects have names of their own.
        self._special = [place for place, column in enumerate(columns) if kind_named(column.kind) is not None]
        self._has_objects = any(column.kind in ("structure", "other") for column in columns)

    def one(self, body: bytes) -> Row:
        """Return the row of a body that is one object.

        Raises:
            RequestError: 400 where it is no JSON, 422 where it does not fit; all problems are named.
        """
        try:
            row: Row = astuple(self._one(body))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            value = parse(body)
            if isinstance(value, list):
                raise RequestError(status=422, message="the body is an array, and one row is an object") from None
            raise self._unfit([value]) from None
        absent = row.count(UNSET)
        # A name that stands twice has one key too many. Nearly everyone writes no space before the colon; where
        # someone does, the count is off and the slow way finds that all is well.
        if self._has_objects or body.count(b'":') + absent != self._width:
            self._refuse_duplicates(body)
        row = tuple([None if value is UNSET else value for value in row]) if absent else row
        return self._read(row, body) if self._special else row

    def many(self, body: bytes, *, limit: int) -> tuple[list[Row], list[msgspec.Raw]]:
        """Return the rows of a body that is an array of objects, and the text of each.

        Raises:
            RequestError: as for `one`; 413 where there are more than `limit`.
        """
        try:
            structs = self._many(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise self.explain(body, limit=limit) from None
        if len(structs) > limit:
            raise too_many_rows(len(structs), limit)
        rows: list[Row] = [astuple(struct) for struct in structs]
        absent = sum(row.count(UNSET) for row in rows)
        if self._has_objects or body.count(b'":') + absent != self._width * len(rows):
            self._refuse_duplicates(body)
        if absent:
            rows = [tuple([None if value is UNSET else value for value in row]) for row in rows]
        if self._special:
            rows = [self._read(row, body) for row in rows]
        return rows, self._raw(body)

    def checked(self, rows: Sequence[Row]) -> list[Row]:
        """Return rows of plain values, such as JSON has, as rows in the types of the columns.

        Raises:
            RequestError: 422, values do not fit; all problems are named.
        """
        try:
            found: list[Row] = [astuple(each) for each in msgspec.convert(rows, self._checked)]
            return [self._special_read(row) for row in found] if self._special else found
        except (msgspec.ValidationError, OverflowError, ValueError):
            raise self._unfit([dict(zip(self.names, row, strict=True)) for row in rows]) from None

    def texts(self, rows: Sequence[Row]) -> list[msgspec.Raw]:
        """Return rows as JSON objects for the log, as a client of our own protocol would have sent them.

        What is large is told by its digest.
        """
        return [
            msgspec.Raw(
                msgspec.json.encode(
                    {column.name: logged(value, column) for column, value in zip(self.columns, row, strict=True)}
                )
            )
            for row in rows
        ]

    def kept(self, rows: Sequence[Row], texts: Sequence[msgspec.Raw]) -> Sequence[msgspec.Raw]:
        """Return what the log keeps of rows: the text that a client sent, unless something in it may be large."""
        return self.texts(rows) if self._special else texts

    def _read(self, row: Row, body: bytes) -> Row:
        try:
            return self._special_read(row)
        except ValueError:
            raise self.explain(body) from None

    def _special_read(self, row: Row) -> Row:
        values = list(row)
        for place in self._special:
            column = self.columns[place]
            kind = kind_named(column.kind)
            if kind is not None and values[place] is not None:
                values[place] = kind.read(values[place], column)
        return tuple(values)

    def explain(self, body: bytes, *, limit: int | None = None) -> RequestError:
        """Return what is wrong with a body that could not be read: every field of every row, up to twenty."""
        value = parse(body)
        rows = value if isinstance(value, list) else [value]
        if limit is not None and len(rows) > limit:
            return too_many_rows(len(rows), limit)
        return self._unfit(rows)

    def _unfit(self, rows: Sequence[Any]) -> RequestError:
        problems: list[dict[str, Any]] = []
        for number, row in enumerate(rows):
            for problem in self._problems(row):
                problems.append({"row": number, **problem})
                if len(problems) == MAX_PROBLEMS:
                    return unfit(problems, more=True)
        if not problems:
            return RequestError(status=400, message="the body cannot be read as JSON")
        return unfit(problems)

    def read(self, place: int, value: Any) -> Any:
        """Return a plain value, such as JSON has, of the column at a place as the model is handed it, or a `Misfit`.

        >>> from drivetrain.data.schema import Column
        >>> reader = Reader([Column(name="stops", kind="int", dtype="Int8")])
        >>> reader.read(0, 3), reader.read(0, 300)
        (3, Misfit(found='300', wanted='a whole number that fits Int8'))
        """
        column = self.columns[place]
        if isinstance(value, float) and not isfinite(value):  # more digits than a float can hold
            return Misfit(shown(value), wanted(column))
        special = kind_named(column.kind)
        try:
            read = msgspec.convert(value, self.types[place])
        except (msgspec.ValidationError, OverflowError) as error:
            found = shown(value) if special is None else _within(value, str(error))
            return Misfit(found, wanted(column, str(error)))
        if special is None:
            return read
        try:
            return special.read(read, column)
        except ValueError as error:
            return Misfit(str(error), wanted(column))

    def _problems(self, row: Any) -> Iterator[dict[str, Any]]:
        if not isinstance(row, dict):
            yield {"field": None, "found": shown(row), "wanted": "an object with a value for each field"}
            return
        for place, (name, may_lack) in enumerate(zip(self.names, self.may_lack, strict=True)):
            if name not in row:
                if not may_lack:
                    yield {"field": name, "found": "nothing", "wanted": wanted(self.columns[place])}
                continue
            if row[name] is None and may_lack:
                continue
            read = self.read(place, row[name])
            if isinstance(read, Misfit):
                yield {"field": name, **read._asdict()}
        for name in row:
            if name not in self.names:
                yield {"field": name, "found": "an unknown field", "wanted": nearest(name, self.names)}

    def _refuse_duplicates(self, body: bytes) -> None:
        parse(body)


def reader_for(
    signature: Signature, *, optional: frozenset[str] = frozenset(), types: Mapping[str, Any] | None = None
) -> Reader:
    """Return the reader of a version's requests; the key may be left out, and the server makes one up."""
    key = signature.roles.key
    return Reader(signature.request, optional=optional | frozenset([key] if key else []), types=types)


def type_of(column: Column) -> Any:
    """Return the type that msgspec checks a column's values against."""
    special = kind_named(column.kind)
    if special is not None:
        return special.type_of(column)
    if column.kind == "int":
        bits = INTEGERS.get(column.dtype, 64)
        # msgspec compares within 64 signed bits.
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if bits > 0 else (0, min((1 << -bits) - 1, (1 << 63) - 1))
        return Annotated[int, Meta(ge=low, le=high)]
    if column.kind == "float":
        narrow = Annotated[float, Meta(ge=-_FLOAT32_LIMIT, le=_FLOAT32_LIMIT)]
        return narrow if column.dtype == "Float32" else float
    if column.kind == "datetime":
        return Annotated[datetime, Meta(tz=has_zone(column))]
    kinds: dict[str, Any] = {"bool": bool, "str": str, "date": date}
    return kinds.get(column.kind, Any)


def has_zone(column: Column) -> bool:
    """Return whether the times of a column come with their offset."""
    return "time_zone=" in column.dtype and "time_zone=None" not in column.dtype


def wanted(column: Column, reason: str = "") -> str:
    """Return what a column takes, in words."""
    special = kind_named(column.kind)
    if special is not None:
        return special.words(column) + (", or null" if column.nullable else "")
    words = {
        "bool": "true or false",
        "int": "a whole number",
        "float": "a number",
        "str": "a text",
        "date": "a date such as 2026-01-31",
        "datetime": "a time such as 2026-01-31T09:30:00",
    }.get(column.kind, "a value")
    if column.kind == "datetime" and "no timezone" in reason:
        words += ", without an offset"
    elif column.kind == "datetime" and "timezone component" in reason:
        words += "Z, with its offset"
    elif "<=" in reason or ">=" in reason:
        words += f" that fits {column.dtype}"
    return words + (", or null" if column.nullable else "")


def parse(body: bytes, *, nan_is_null: bool = False) -> Any:
    """Return a body as JSON, by the strictest reading; only NaN is let pass as null where that is asked for.

    Raises:
        RequestError: it is no JSON, is nested too deeply, or has a name twice in one object.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise RequestError(status=400, message=f"the body is not UTF-8 (byte {error.start})") from None
    value: Any = None
    try:
        value = (_WITH_NAN if nan_is_null else _STRICT).decode(text)
        msgspec.json.encode(value)  # a lone surrogate cannot be written again
    except JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RequestError(status=400, message=f"the body is not JSON: {error.msg} ({where})") from None
    except UnicodeEncodeError:
        raise RequestError(status=400, message="the body is not JSON: half of a surrogate pair stands alone") from None
    except RecursionError:
        raise RequestError(status=400, message="the body is nested too deep") from None
    except OverflowError:  # an integer beyond 64 bits can be read and not be written
        return value
    except ValueError as error:
        raise RequestError(status=400, message=f"the body is not JSON: {error}") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(
            status=422,
            message=f"the field {twice!r} stands twice in one object",
            problems=[{"row": None, "field": twice, "found": "two values", "wanted": "one"}],
        )
    return row


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number; send null")


def _constant_or_null(name: str) -> Any:
    return None if name == "NaN" else _constant(name)


def _integer(text: str) -> int | float:
    # Python refuses very long integers, and reading them takes time that grows with the square of the length.
    return int(text) if len(text) < 400 else float("inf")


_STRICT = JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)
_WITH_NAN = JSONDecoder(object_pairs_hook=_object, parse_constant=_constant_or_null, parse_int=_integer)


def too_many_rows(rows: int, limit: int) -> RequestError:
    """Return the error for a request of too many rows."""
    return RequestError(status=413, message=f"the request has {rows:,} rows; at most {limit:,} are answered at once")


def unfit(problems: list[dict[str, Any]], *, more: bool = False) -> RequestError:
    """Return the error for values that do not fit; `more` says that not all of them are named."""
    count = f"{len(problems)}{' or more' if more else ''}"
    message = f"{count} value{'s do' if len(problems) > 1 else ' does'} not fit the model's signature"
    return RequestError(status=422, message=message, problems=problems)


def _within(value: Any, reason: str) -> str:
    """Return what was found at the place in a value that msgspec's reason names, and why it does not fit."""
    what, _, place = reason.partition(" - at ")
    return f"{what[:1].lower()}{what[1:]} at {place.strip('`')}" if place else f"{shown(value)}: {what}"


def shown(value: Any) -> str:
    """Return a value in words, short enough for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if isnan(value) else "a number out of range"
    text = msgspec.json.encode(value).decode() if not isinstance(value, int) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"

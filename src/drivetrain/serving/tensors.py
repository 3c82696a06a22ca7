"""Rows and answers as the tensors of the Open Inference Protocol, the same in its REST and its gRPC form."""

from __future__ import annotations

from itertools import chain, islice
from math import prod
from struct import pack, unpack_from
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from drivetrain.errors import RequestError, nearest
from drivetrain.serving.columns import NUMERIC, from_columns, from_rows, unnamed
from drivetrain.serving.requests import MAX_PROBLEMS, shown, too_many_rows, unfit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drivetrain.data.schema import Column
    from drivetrain.serving.requests import Reader, Row

_BITS = (8, 16, 32, 64)
# How the elements of a datatype lie in memory, little-endian; BYTES have a length each, and BF16 is half of an FP32.
DTYPES: dict[str, Any] = {
    "BOOL": np.dtype("?"),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in _BITS},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in _BITS},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_NAMES = {dtype.name: name for name, dtype in DTYPES.items()}
DATATYPES = (*DTYPES, "BF16", "BYTES")
# What JSON may write an element as; the largest of UINT64 are beyond what msgspec compares.
_ELEMENTS: dict[str, Any] = {
    "BYTES": str | None,
    "BOOL": bool | None,
    **{f"INT{bits}": Annotated[int, Meta(ge=-(1 << bits - 1), le=(1 << bits - 1) - 1)] | None for bits in _BITS},
    **{f"UINT{bits}": Annotated[int, Meta(ge=0, le=(1 << min(bits, 63)) - 1)] | None for bits in _BITS},
    **dict.fromkeys(["BF16", "FP16", "FP32", "FP64"], float | None),
}
# What checks many elements at once: structs, as msgspec keeps what it has made of their types.
_MANY: dict[str, Any] = {
    name: msgspec.defstruct("Elements", [("values", list[element])], array_like=True)  # type: ignore[valid-type]
    for name, element in _ELEMENTS.items()
}
_MAX_RANK = 8


class Tensor(msgspec.Struct, frozen=True):
    """A named tensor. `values` are its elements in row-major order: a list, or an array with one dimension."""

    name: str
    datatype: str
    shape: list[int]
    values: Any


class Described(msgspec.Struct, frozen=True):
    """What a model says about a tensor that it takes or gives; -1 in the shape is the number of rows."""

    name: str
    datatype: str
    shape: list[int]


def datatype_of(column: Column) -> str:
    """Return the datatype of a column; dates and times are ISO text, images base64, and structures JSON."""
    if column.kind == "tensor":
        return _NAMES.get(column.dtype, "BYTES")
    if column.kind == "bool":
        return "BOOL"
    if column.kind == "int":
        return column.dtype.upper() if column.dtype.upper() in DTYPES else "INT64"
    if column.kind == "float":
        return "FP32" if column.dtype == "Float32" else "FP64"
    return "BYTES"


def inputs_of(reader: Reader) -> list[Described]:
    """Return what a version takes: a tensor for each column of its requests."""
    return [Described(column.name, datatype_of(column), shape_of(column)) for column in reader.columns]


def shape_of(column: Column) -> list[int]:
    """Return the shape of a column's tensor; -1 is the number of rows, or any other."""
    lengths = column.form["shape"] if column.kind == "tensor" else []
    return [-1, *(-1 if length is None else length for length in lengths)]


def examples(reader: Reader, row: Mapping[str, Any]) -> list[Tensor]:
    """Return a row of plain values twice, as the tensors that ask for it."""
    return [column_tensor(column, [row[column.name]] * 2) for column in reader.columns if column.name in row]


def column_tensor(column: Column, values: list[Any]) -> Tensor:
    """Return plain values of a column as a tensor, the first dimension of which are the rows."""
    datatype = datatype_of(column)
    if column.kind == "tensor":
        try:
            array = np.array(values, object if datatype == "BYTES" else DTYPES[datatype])
        except ValueError:
            array = np.empty(0, object)
        lengths = shape_of(column)[1:]
        if not values:
            array = array.reshape([0, *(max(0, length) for length in lengths)])
        if array.ndim != 1 + len(lengths):
            found = "arrays of several shapes"
            raise _bad(column.name, found, "one shape for all rows: ask for these rows one by one")
        return Tensor(column.name, datatype, list(array.shape), array.ravel().tolist())
    if column.kind in ("structure", "other"):
        values = [as_text(each) for each in values]
    return Tensor(column.name, datatype, [len(values)], values)


def as_text(value: Any) -> str:
    """Return a value as JSON text."""
    return msgspec.json.encode(value).decode()


def from_values(name: str, datatype: str, shape: Sequence[int], values: Any) -> Tensor:
    """Return a tensor whose elements came as JSON: a flat array, or one nested as the shape says.

    Raises:
        RequestError: 422, the elements are not of the datatype, or not as many as the shape says.
    """
    count = _count(name, datatype, shape)
    if not isinstance(values, list):
        raise _bad(name, shown(values), "`data` as an array")
    if len(shape) > 1 and values and isinstance(values[0], list):
        for length in shape[1:]:
            if not all(isinstance(each, list) and len(each) == length for each in values):
                raise _bad(name, "`data` of another shape", f"data nested as the shape {list(shape)} says, or flat")
            values = list(chain.from_iterable(values))
    if len(values) != count:
        raise _bad(name, f"{len(values):,} elements", f"{count:,}, as the shape {list(shape)} says")
    try:
        msgspec.convert([values], _MANY[datatype])
    except (msgspec.ValidationError, OverflowError):
        raise unfit(list(islice(_strangers(name, datatype, values, shape), MAX_PROBLEMS))) from None
    return Tensor(name, datatype, list(shape), values)


def _strangers(name: str, datatype: str, values: list[Any], shape: Sequence[int]) -> Iterator[dict[str, Any]]:
    width = prod(shape[1:])
    for place, value in enumerate(values):
        try:
            msgspec.convert(value, _ELEMENTS[datatype])
        except (msgspec.ValidationError, OverflowError):
            found, right = shown(value), f"an element of {datatype}"
            yield {"row": place // width, "field": name, "found": found, "wanted": right}


def from_bytes(name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> Tensor:
    """Return a tensor whose elements came as bytes: little-endian, texts with a length of 4 bytes before each.

    Raises:
        RequestError: 422, there are more or fewer bytes than the shape says, or a text is no UTF-8.
    """
    count = _count(name, datatype, shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, list(shape), _texts(name, count, bytes(data)))
    width = 2 if datatype == "BF16" else DTYPES[datatype].itemsize
    if len(data) != count * width:
        raise _bad(name, f"{len(data):,} bytes", f"{count * width:,}: {datatype} of the shape {list(shape)}")
    if datatype == "BF16":
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    elif datatype == "BOOL":
        plain = np.frombuffer(data, np.uint8)
        if plain.size and plain.max() > 1:
            raise _bad(name, f"a byte of {plain.max()}", "bytes of 0 or 1")
        values = plain.view(np.bool_)
    else:
        values = np.frombuffer(data, DTYPES[datatype])
    return Tensor(name, datatype, list(shape), values)


def from_texts(name: str, datatype: str, shape: Sequence[int], data: Sequence[bytes]) -> Tensor:
    """Return a tensor of texts that came as bytes each.

    Raises:
        RequestError: 422, there are more or fewer than the shape says, or a text is no UTF-8.
    """
    count = _count(name, datatype, shape)
    if len(data) != count:
        raise _bad(name, f"{len(data):,} elements", f"{count:,}, as the shape {list(shape)} says")
    return Tensor(name, datatype, list(shape), [_text(name, place, each) for place, each in enumerate(data)])


def _texts(name: str, count: int, data: bytes) -> list[str]:
    found: list[str] = []
    at = 0
    while len(found) < count and at + 4 <= len(data):
        (length,) = unpack_from("<I", data, at)
        at += 4 + length
        if at > len(data):
            break
        found.append(_text(name, len(found), data[at - length : at]))
    if len(found) != count or at != len(data):
        wanted = f"{count:,} texts, each after its length in 4 bytes, and nothing behind them"
        raise _bad(name, f"{len(data):,} bytes that hold {len(found):,} texts", wanted)
    return found


def _text(name: str, place: int, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        problem = {"row": place, "field": name, "found": "bytes that are not UTF-8", "wanted": "a text in UTF-8"}
        raise unfit([problem]) from None


def to_bytes(tensor: Tensor) -> bytes:
    """Return the elements of a tensor as `from_bytes` reads them.

    >>> list(to_bytes(Tensor("id", "BYTES", [1], ["ab"])))
    [2, 0, 0, 0, 97, 98]
    """
    if tensor.datatype == "BYTES":
        texts = [each.encode() for each in tensor.values]
        return b"".join([pack("<I", len(each)) + each for each in texts])
    return np.asarray(tensor.values, DTYPES[tensor.datatype]).tobytes()


def _count(name: str, datatype: str, shape: Sequence[int]) -> int:
    if datatype not in DATATYPES:
        raise _bad(name, f"the datatype {datatype[:40]!r}", f"one of {', '.join(DATATYPES)}")
    if not 1 <= len(shape) <= _MAX_RANK or min(shape) < 0:
        raise _bad(name, f"the shape {_shown(shape)}", f"1 to {_MAX_RANK} whole numbers, 0 or more")
    return prod(shape)  # of Python's own integers, which do not overflow


def _shown(shape: Sequence[int]) -> str:
    text = str(list(shape[:9]))
    return text if len(text) <= 60 else f"{text[:57]}…"


def _bad(name: str, found: str, right: str) -> RequestError:
    return unfit([{"row": None, "field": name, "found": found, "wanted": right}])


def rows_from(reader: Reader, tensors: Sequence[Tensor], *, limit: int) -> list[Row]:
    """Return the rows that tensors hold: one tensor a column, or a single one with all the numbers.

    A tensor of a column has the shape [rows] or [rows, 1] and the column's name, with hyphens or underscores. Where
    only one column must be given, a single tensor that fits its shape may have any name. A single one with another name
    and the shape [rows, columns] has the numeric columns in the signature's order, with or without a numeric key.
    Numbers come in any datatype that holds them: 2.0 is the whole number 2, and 1 is true; NaN is null where null may
    be.

    Raises:
        RequestError: 422 where something does not fit, 413 where there are more than `limit` rows.
    """
    tensors = [_renamed(each, _meant(reader, each.name)) for each in tensors]
    if len(tensors) == 1 and tensors[0].name not in reader.places:
        (tensor,) = tensors
        only = _only(reader)
        if only is not None and not _wrong_shape(only, tensor.shape):
            tensors = [_renamed(tensor, only.name)]
        elif len(tensor.shape) == 2:
            return _split(reader, tensor, limit)
        elif only is not None:
            raise _bad(tensor.name, _form(tensor), _asked(reader))
    rows, columns = _gathered(reader, tensors, limit)
    return from_columns(reader, columns, rows)


def _meant(reader: Reader, name: str) -> str:
    """Return the column whose name this is but for hyphens in place of underscores, or the name as it is."""
    if name in reader.places:
        return name
    found = [each for each in reader.names if each.replace("-", "_") == name.replace("-", "_")]
    return found[0] if len(found) == 1 else name


def _renamed(tensor: Tensor, name: str) -> Tensor:
    return tensor if tensor.name == name else Tensor(name, tensor.datatype, tensor.shape, tensor.values)


def _only(reader: Reader) -> Column | None:
    """Return the one column that must be given, or that there is; None where there are several."""
    required = [each for each, may_lack in zip(reader.columns, reader.may_lack, strict=True) if not may_lack]
    found = required or reader.columns
    return found[0] if len(found) == 1 else None


def _form(tensor: Tensor) -> str:
    return f"{tensor.datatype} of the shape {tensor.shape}"


def _asked(reader: Reader) -> str:
    """Return which single tensor is taken, in words."""
    names = [column.name for column in reader.columns if column.kind in NUMERIC]
    only = _only(reader)
    if only is not None and {only.name, *names} == {only.name}:
        lengths = ", ".join("any" if each == -1 else str(each) for each in shape_of(only)[1:])
        return f"{only.name}, [rows{', ' if lengths else ''}{lengths}]"
    if not names:
        return f"a tensor for each column: {', '.join(reader.names)[:200]}"
    return f"a tensor of numbers, [rows, {len(names)}] with {', '.join(names)[:200]}; or one for each column"


def _gathered(reader: Reader, tensors: Sequence[Tensor], limit: int) -> tuple[int, dict[str, Any]]:
    """Return the number of rows, and the values of each column that has a tensor."""
    columns: dict[str, Any] = {}
    problems = []
    rows = tensors[0].shape[0] if tensors else 0
    for tensor in tensors:
        found = right = ""
        place = reader.places.get(tensor.name)
        if place is None:
            found, right = "an unknown input", nearest(tensor.name, reader.names)
        elif tensor.name in columns:
            found, right = "two tensors", "one"
        elif wrong := _wrong_shape(reader.columns[place], tensor.shape):
            found, right = f"the shape {tensor.shape}", wrong
        elif tensor.shape[0] != rows:
            found, right = f"{tensor.shape[0]:,} rows", f"{rows:,}, as {tensors[0].name} has"
        if found or place is None:
            problems.append({"row": None, "field": tensor.name, "found": found, "wanted": right})
        else:
            columns[tensor.name] = _by_row(reader.columns[place], tensor)
    if problems:
        raise unfit(problems[:MAX_PROBLEMS], more=len(problems) > MAX_PROBLEMS)
    if rows > limit:
        raise too_many_rows(rows, limit)
    return rows, columns


def _wrong_shape(column: Column, shape: Sequence[int]) -> str:
    """Return which shape would be right; empty where this one is."""
    if column.kind != "tensor":
        return "" if list(shape[1:]) in ([], [1]) else f"[{shape[0]}] or [{shape[0]}, 1]"
    lengths = shape_of(column)
    fits = len(shape) == len(lengths) and all(right in (-1, size) for right, size in zip(lengths, shape, strict=True))
    return "" if fits else f"{lengths}, where -1 is any number"


def _by_row(column: Column, tensor: Tensor) -> Any:
    """Return the values of each row, as JSON would have them where they are more than one or a structure."""
    if column.kind == "tensor":
        values = np.asarray(tensor.values, object if isinstance(tensor.values, list) else None)
        return values.reshape(tensor.shape).tolist()
    if column.kind in ("structure", "other"):
        return [_parsed(column.name, row, each) for row, each in enumerate(tensor.values)]
    return tensor.values


def _parsed(name: str, row: int, text: Any) -> Any:
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else text
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise unfit([{"row": row, "field": name, "found": shown(text), "wanted": "JSON"}]) from None


def _split(reader: Reader, tensor: Tensor, limit: int) -> list[Row]:
    """Return the rows of the single tensor of all numbers."""
    rows, width = tensor.shape
    if rows > limit:
        raise too_many_rows(rows, limit)
    names = unnamed(reader, width, numeric=True)
    if tensor.datatype == "BYTES" or names is None:
        raise _bad(tensor.name, _form(tensor), _asked(reader))
    values = tensor.values
    if isinstance(values, np.ndarray) and not (values.dtype.kind == "f" and np.isnan(values).any()):
        values = values.tolist()
    if names == reader.names and isinstance(values, list):
        return from_rows(reader, list(zip(*[iter(values)] * width, strict=True)))
    return from_columns(reader, {name: values[place::width] for place, name in enumerate(names)}, rows)

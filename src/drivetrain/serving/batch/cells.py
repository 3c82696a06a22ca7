"""Columns of a table as values that are more than a table's own: tensors, images and structures, each checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from drivetrain.data.kinds.kind import kind_named
from drivetrain.serving.requests import Misfit, wanted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivetrain.data.schema import Column
    from drivetrain.serving.batch.folder import Folder
    from drivetrain.serving.requests import Reader

# The types of a table for those of tensors.
DTYPES: dict[str, pl.DataType] = {
    "float32": pl.Float32(), "float64": pl.Float64(), "bool": pl.Boolean(),
    "int8": pl.Int8(), "int16": pl.Int16(), "int32": pl.Int32(), "int64": pl.Int64(),
    "uint8": pl.UInt8(), "uint16": pl.UInt16(), "uint32": pl.UInt32(), "uint64": pl.UInt64(),
}  # fmt: skip


class Cells(NamedTuple):
    """The values of a column as the model is handed them, and by row what does not fit; such values are None."""

    values: list[Any]
    misfits: dict[int, Misfit]


def can_be_read(dtype: pl.DataType, column: Column) -> bool:
    """Return whether a column of this type may hold what is asked for; a text is JSON, or names an image.

    >>> from drivetrain.data.kinds.tensor import Tensor
    >>> column = Tensor("float32", (2,)).column("x")
    >>> can_be_read(pl.List(pl.Int8), column), can_be_read(pl.String(), column), can_be_read(pl.Int8(), column)
    (True, True, False)
    """
    if dtype in (pl.String, pl.Null):
        return True
    if column.kind == "image":
        return dtype == pl.Binary
    if column.kind == "tensor":
        return isinstance(dtype, pl.List | pl.Array) if column.form["shape"] else dtype.is_numeric()
    return True


def cells_of(reader: Reader, place: int, series: pl.Series, folder: Folder) -> Cells:
    """Return the values of the reader's column at a place. `folder` has the images that are named by their path.

    Raises:
        StoreUnavailable: the bucket with the images cannot be reached.
        MissingExtra: a library that reads such values is not installed.
    """
    column, may_lack = reader.columns[place], reader.may_lack[place]
    whole = _stacked(series, column) if column.kind == "tensor" else None
    if whole is not None:
        return Cells(list(whole), {})
    values: list[Any] = []
    misfits: dict[int, Misfit] = {}
    for row, given in enumerate(series.to_list()):
        if given is None:
            value = None if may_lack else Misfit("null", wanted(column))
        else:
            value = _image(column, given, folder) if column.kind == "image" else _plain(reader, place, given)
        if isinstance(value, Misfit):
            misfits[row] = value
        values.append(None if row in misfits else value)
    return Cells(values, misfits)


def _stacked(series: pl.Series, column: Column) -> NDArray[Any] | None:
    """Return nested numbers of one shape as an array, (rows, …); None where they are to be looked at one by one."""
    shape, dtype = column.form["shape"], DTYPES.get(column.dtype)
    inner, depth = series.dtype, 0
    while isinstance(inner, pl.List | pl.Array):
        inner, depth = inner.inner, depth + 1  # type: ignore[assignment]  # a class of a type is none here
    is_safe = dtype == inner or (dtype is not None and dtype.is_float() and inner.is_numeric())
    is_safe = is_safe or (dtype is not None and dtype.is_integer() and inner.is_integer())
    if not is_safe or not shape or depth != len(shape) or None in shape or series.null_count():
        return None
    try:
        found = series.cast(pl.Array(dtype, tuple(shape))).to_numpy()  # type: ignore[arg-type]  # it is one by now
    except pl.exceptions.PolarsError:
        return None
    if found.dtype != column.dtype or (found.dtype.kind == "f" and not np.isfinite(found).all()):
        return None
    return found


def _image(column: Column, given: Any, folder: Folder) -> Any:
    """Return an image from its bytes, from base64, which has neither dots nor colons, or from the file of that path."""
    kind = kind_named("image")
    assert kind is not None
    is_path = isinstance(given, str) and ("." in given or ":" in given) and not given.startswith("data:")
    name = given if is_path else ""
    try:
        return kind.read(folder.read(name) if name else given, column)
    except ValueError as error:
        told = str(error)
        return Misfit(told if not name or name in told else f"{name}: {told}", wanted(column))


def _plain(reader: Reader, place: int, given: Any) -> Any:
    """Return a value, or what a text says as JSON, and where that does not fit, the text itself."""
    if not isinstance(given, str):
        return reader.read(place, given)
    try:
        read = reader.read(place, msgspec.json.decode(given))
    except msgspec.DecodeError:
        return reader.read(place, given)
    as_text = reader.read(place, given) if isinstance(read, Misfit) else read
    return read if isinstance(as_text, Misfit) else as_text

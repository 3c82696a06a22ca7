"""Tensors: arrays of numbers or text with a shape, each dimension fixed or free."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from drivetrain.data.kinds.kind import MOST_LOGGED_BYTES
from drivetrain.data.schema import Column
from drivetrain.errors import UnknownName
from drivetrain.system.caller import caller

if TYPE_CHECKING:
    from numpy.typing import NDArray

DTYPES = (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
    "str",
)  # fmt: skip
# Of a free dimension, in an example.
_SOME = 2


class Tensor(msgspec.Struct, frozen=True):
    """What an array must be, in an annotation: `Annotated[np.ndarray, Tensor("float32", (None, 3))]`.

    A dimension that is None may have any length.

    >>> Tensor("float32", (28, 28)).column("digits").form
    {'shape': [28, 28]}
    """

    dtype: str = "float32"
    shape: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UnknownName(kind="type of a tensor", name=str(self.dtype), known=DTYPES, place=caller())

    def column(self, name: str, *, nullable: bool = False) -> Column:
        """Return the column of such values."""
        shape = {"shape": list(self.shape)}
        return Column(name=name, kind="tensor", dtype=self.dtype, nullable=nullable, form=shape)


class TensorKind:
    """Reads nested JSON arrays, checked by dimension, into numpy arrays of the column's exact type."""

    def type_of(self, column: Column) -> Any:
        kind = _element(column.dtype)
        for length in reversed(column.form["shape"]):
            is_fixed = length is not None
            kind = Annotated[list[kind], Meta(min_length=length, max_length=length)] if is_fixed else list[kind]  # type: ignore[valid-type]
        return kind

    def read(self, value: Any, column: Column) -> NDArray[Any]:
        if isinstance(value, np.ndarray):
            found: NDArray[Any] = value
        else:
            dtype = object if column.dtype == "str" else column.dtype
            try:
                found = np.array(value, dtype=dtype)
            except (ValueError, TypeError, OverflowError):
                raise ValueError("an array whose rows differ in length") from None
            if not value and 0 in column.form["shape"][1:]:
                found = found.reshape([length or 0 for length in column.form["shape"]])
        wanted = column.form["shape"]
        fits = len(wanted) == found.ndim and all(
            length in (None, size) for length, size in zip(wanted, found.shape, strict=True)
        )
        if not fits:
            raise ValueError(f"an array of the shape {shown(found.shape)}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"a number that does not fit {column.dtype}")
        return found

    def words(self, column: Column) -> str:
        shape = column.form["shape"]
        kind = "texts" if column.dtype == "str" else column.dtype
        return f"an array of {kind} with the shape {shown(shape)}" if shape else f"one value of {kind}"

    def schema(self, column: Column) -> dict[str, Any]:
        kinds = {"str": "string", "bool": "boolean", "float16": "number", "float32": "number", "float64": "number"}
        schema: dict[str, Any] = {"type": kinds.get(column.dtype, "integer")}
        for length in reversed(column.form["shape"]):
            schema = {"type": "array", "items": schema}
            if length is not None:
                schema |= {"minItems": length, "maxItems": length}
        return schema | {"description": self.words(column)}

    def told(self, value: Any, column: Column) -> Any:
        found = value if isinstance(value, np.ndarray) else np.asarray(value)
        wanted = column.form["shape"]
        if len(wanted) != found.ndim or any(
            length not in (None, size) for length, size in zip(wanted, found.shape, strict=True)
        ):
            raise ValueError(f"{column.name} has the shape {shown(found.shape)}, and not {shown(wanted)}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"{column.name} holds a number that is not finite")
        return found.tolist()

    def logged(self, value: Any, column: Column) -> Any:
        found = np.asarray(value, dtype=object if column.dtype == "str" else column.dtype)
        if found.size <= MOST_LOGGED_BYTES // 16:
            return found.tolist()
        data = msgspec.json.encode(found.tolist()) if column.dtype == "str" else np.ascontiguousarray(found).tobytes()
        return {"digest": f"sha256:{sha256(data).hexdigest()}", "shape": list(found.shape), "dtype": column.dtype}

    def example(self, column: Column) -> Any:
        shape = [_SOME if length is None else length for length in column.form["shape"]]
        plain: Any = {"str": "text", "bool": False}.get(column.dtype, 0)
        return np.full(shape, plain, dtype=object if column.dtype == "str" else column.dtype).tolist()


def shown(shape: Any) -> str:
    """Return a shape in words: a free dimension is a question mark.

    >>> shown([None, 3])
    '(?, 3)'
    """
    return "(" + ", ".join("?" if length is None else str(length) for length in shape) + ")"


def _element(dtype: str) -> Any:
    if dtype in ("str", "bool"):
        return {"str": str, "bool": bool}[dtype]
    if dtype.startswith("float"):
        most = float(np.finfo(dtype).max)
        return float if dtype == "float64" else Annotated[float, Meta(ge=-most, le=most)]
    limits = np.iinfo(dtype)
    # msgspec compares within 64 signed bits.
    return Annotated[int, Meta(ge=max(int(limits.min), -(1 << 63)), le=min(int(limits.max), (1 << 63) - 1))]


KIND = TensorKind()

"""What an answer is found by: a digest of the row as the model sees it, and of the version that answers."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from drivetrain.data.kinds.image import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drivetrain.data.schema import Column
    from drivetrain.registry.version import Version
    from drivetrain.serving.requests import Reader, Row
    from drivetrain.store.artifact import Artifact

# Nobody finds two rows with one digest of this length, also not on purpose.
_DIGEST_BYTES = 32
# Tells apart what JSON would not: -0.0 and 0.0, NaN and null, bytes and text. The order of names in an object is none.
_PACK = msgspec.msgpack.Encoder(order="deterministic").encode
_SHORT = Struct("<f")


class Keys:
    """Makes the keys of the rows that a version answers, with these tables as its side inputs.

    `columns` are where the version's columns stand in the rows; None where they are the rows' own. Only what the model
    can see counts: where no features function is in between, those are the columns of its signature.
    """

    def __init__(
        self, version: Version, reader: Reader, side: Mapping[str, Artifact], columns: Sequence[int] | None = None
    ) -> None:
        used = {name: side.get(name, artifact).digest for name, artifact in version.side_inputs.items()}
        self._version = blake2b(_PACK((version, used)), digest_size=_DIGEST_BYTES)
        sees_all = bool(version.features) or version.signature.task == "values"
        names = reader.names if sees_all else [column.name for column in version.signature.features]
        places = [reader.names.index(name) for name in names]
        self._places = places if columns is None else [columns[place] for place in places]
        self._special = [
            (number, make)
            for number, place in enumerate(places)
            if (make := _plain_of(reader.columns[place])) is not None
        ]

    def of(self, row: Row) -> bytes | None:
        """Return the key of a row; None where there is none, such as for an image that is told by its address."""
        values = [row[place] for place in self._places]
        try:
            for number, make in self._special:
                if values[number] is not None:
                    values[number] = make(values[number])
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None
        return self.of_values(values)

    def of_values(self, values: Any) -> bytes | None:
        """Return the key of plain values; None where one of them is beyond what can be packed, such as 2 ** 70."""
        try:
            packed = _PACK(values)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None
        found = self._version.copy()
        found.update(packed)
        return found.digest()


def _plain_of(column: Column) -> Callable[[Any], Any] | None:
    """Return what makes plain values of a column's; None where they are plain."""
    if column.kind == "tensor":
        dtype = object if column.dtype == "str" else np.dtype(column.dtype)
        return lambda value: _tensor(value, dtype)
    if column.dtype == "Float32":
        return lambda value: _SHORT.pack(value)  # a model sees no more of it
    made: dict[str, Callable[[Any], Any]] = {"image": _image, "structure": _structure, "other": repr}
    return made.get(column.kind)


def _tensor(value: Any, dtype: Any) -> Any:
    if dtype is object:
        return np.shape(value), np.asarray(value, dtype=object).tolist()
    array = np.ascontiguousarray(value, dtype=dtype)
    return array.shape, blake2b(array.data, digest_size=_DIGEST_BYTES).digest()


def _image(value: Image) -> str:
    if value.url:
        raise ValueError("what stands at an address may change")
    return value.digest


def _structure(value: Any) -> Any:
    # A time within is packed as the moment that it is; its text has the offset as well, which a model may look at.
    return value, msgspec.json.encode(value, order="deterministic")

"""Arrays and scalars of numpy as .npy files, which never hold code."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain.errors import Unkeepable, WrongForm
from drivetrain.store.codecs.codec import Written, codec_named, plain_form

if TYPE_CHECKING:
    from pathlib import Path


class NumpyCodec:
    """Keeps ndarray and numpy's scalars; reads a table as the array of its columns."""

    formats = frozenset({"npy", "parquet"})
    shares = False

    def write(self, value: Any, path: Path) -> Written:
        if type(value) not in (np.ndarray, np.memmap) and not isinstance(value, np.generic):
            raise Unkeepable(
                found=f"a numpy {type(value).__qualname__}, of which .npy would lose a part",
                right="return a plain array: `np.asarray(…)`, or `.filled(…)` of a masked one",
            )
        array = np.asanyarray(value)
        if array.dtype.hasobject:
            raise Unkeepable(
                found=f"an array of Python objects (dtype {array.dtype})",
                right="give it a dtype, such as `.astype(float)` or `.astype(str)`; or return a list or a frame",
            )
        with open(path, "xb") as file:
            # Handed a file itself, numpy writes past Python, and its errors do not say what the disk said.
            np.lib.format.write_array(SimpleNamespace(write=file.write), array, allow_pickle=False)
        return Written("npy", len(array) if array.ndim else None)

    def read(self, path: Path, form: Any) -> Any:
        with open(path, "rb") as file:
            is_table = file.read(4) == b"PAR1"
        if is_table:
            return codec_named("polars").read(path, None).to_numpy()
        array = np.load(path, allow_pickle=False)
        if array.ndim:
            return array
        scalar, form = array[()], plain_form(form)
        if form is np.ndarray:
            return array
        if isinstance(form, type) and issubclass(form, (int, float)) and not isinstance(scalar, form):
            if not isinstance(scalar, np.number):
                raise WrongForm(format="npy", wanted=form.__qualname__)
            return form(scalar)
        return scalar


CODEC = NumpyCodec()

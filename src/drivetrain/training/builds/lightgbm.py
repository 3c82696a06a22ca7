"""Models of LightGBM run by its C library alone: 3 MiB, where its Python package and what that imports take 160."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np
import polars as pl

from drivetrain.errors import MissingExtra, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from drivetrain.training.signature import Signature

_NUMBERS = frozenset({"bool", "int", "float"})
# What the C interface calls 64-bit numbers, answers as they are told, and all trees of the file.
_FLOAT64, _NORMAL, _ALL = 1, 0, -1
# Each worker has one processor.
_PARAMETERS = b"num_threads=1"


class LightGBMForm:
    """A booster of LightGBM, alone or in its scikit-learn wrapper, as its own text file."""

    def takes(self, model: Any, signature: Signature) -> bool:
        comes_from = {base.__module__.partition(".")[0] for base in type(model).__mro__}
        return "lightgbm" in comes_from and {column.kind for column in signature.features} <= _NUMBERS

    def written(self, model: Any, signature: Signature) -> bytes:
        text: str = getattr(model, "booster_", model).model_to_string()
        return text.encode()

    def opened(self, path: Path, signature: Signature) -> NativeBooster:
        return NativeBooster(path, signature)


FORM = LightGBMForm()


class NativeBooster:
    """A booster in memory, asked through https://lightgbm.readthedocs.io/en/stable/C-API.html with one thread.

    Raises:
        MissingExtra: LightGBM is not installed.
        Refused: the file is no model, or one of other features.
    """

    def __init__(self, path: Path, signature: Signature) -> None:
        library = _library()
        self._handle = ctypes.c_void_p()
        trees = ctypes.c_int()
        given = str(path).encode()
        _checked(library.LGBM_BoosterCreateFromModelfile(given, ctypes.byref(trees), ctypes.byref(self._handle)))
        finalize(self, library.LGBM_BoosterFree, self._handle)
        self._width = len(signature.features)
        # The library reads as many numbers a row as the model has features, whatever it is handed.
        if (features := self._told(library.LGBM_BoosterGetNumFeature)) != self._width:
            raise Refused(
                f"the LightGBM build has {features} features, and the version {self._width}", remedy="train it again"
            )
        self._outputs = self._told(library.LGBM_BoosterGetNumClasses)
        self._rounded = [place for place, column in enumerate(signature.features) if column.dtype == "Float32"]
        self._one = ctypes.c_void_p()
        _checked(
            library.LGBM_BoosterPredictForMatSingleRowFastInit(
                self._handle, _NORMAL, 0, _ALL, _FLOAT64, self._width, _PARAMETERS, ctypes.byref(self._one)
            )
        )
        finalize(self, library.LGBM_FastConfigFree, self._one)
        self._predict_one, self._predict_many = (
            library.LGBM_BoosterPredictForMatSingleRowFast,
            library.LGBM_BoosterPredictForMat,
        )
        # Two threads may not ask with one configuration at once.
        self._lock = Lock()

    def scores(self, rows: Sequence[tuple[Any, ...]]) -> NDArray[Any]:
        """Return the answers to rows of feature values, in the signature's order."""
        table: NDArray[Any] = np.array(rows, dtype=np.float64)  # (rows, features)
        if self._rounded:  # the model has seen these in 32 bits
            with np.errstate(over="ignore"):
                table[:, self._rounded] = table[:, self._rounded].astype(np.float32)
        return self._asked(table)

    def scores_of(self, frame: pl.DataFrame) -> NDArray[Any]:
        """Return the answers to the rows of a frame of features."""
        return self._asked(np.ascontiguousarray(frame.select(pl.all().cast(pl.Float64)).to_numpy()))

    def _asked(self, table: NDArray[Any]) -> NDArray[Any]:
        rows = len(table)
        found = np.empty((rows, self._outputs))
        count, data, put = ctypes.c_int64(), ctypes.c_void_p(table.ctypes.data), ctypes.c_void_p(found.ctypes.data)
        if rows == 1:
            with self._lock:
                failed = self._predict_one(self._one, data, ctypes.byref(count), put)
        else:
            failed = self._predict_many(
                self._handle, data, _FLOAT64, rows, self._width, 1, _NORMAL, 0, _ALL, _PARAMETERS,
                ctypes.byref(count), put,
            )  # fmt: skip
        _checked(failed)
        return found if self._outputs > 1 else found[:, 0]

    def _told(self, asked: Any) -> int:
        found = ctypes.c_int()
        _checked(asked(self._handle, ctypes.byref(found)))
        return found.value


@cache
def _library() -> Any:
    try:
        found = next(file for file in files("lightgbm") or () if file.stem == "lib_lightgbm")
        library = ctypes.CDLL(str(found.locate()))
    except (PackageNotFoundError, StopIteration, OSError) as error:
        raise MissingExtra(
            library="lightgbm", extra="lightgbm", purpose="a version with a native build of LightGBM"
        ) from error
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _checked(failed: int) -> None:
    if failed:
        text = " ".join(_library().LGBM_GetLastError().decode(errors="replace").split())
        raise Refused(f"LightGBM cannot run the build: {text[:200]}", remedy="train it again")

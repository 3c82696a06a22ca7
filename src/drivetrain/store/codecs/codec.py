"""How values become files and come back: a codec for each family of types, found by the type alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from drivetrain.errors import NoCodec, Place

if TYPE_CHECKING:
    from pathlib import Path


class Written(NamedTuple):
    """What a codec wrote: the name of the form on disk, and the number of rows where there are any."""

    format: str
    rows: int | None = None


class Codec(Protocol):
    """Keeps the values of one family of types.

    `formats` are the forms on disk that it can read. `shares` says that its values cannot be changed in place, so that
    several steps may be handed the same object; of other values each step gets its own.
    """

    formats: frozenset[str]
    shares: bool

    def write(self, value: Any, path: Path) -> Written:
        """Write `value` into the new file `path`; the same value gives the same bytes."""
        ...

    def read(self, path: Path, form: Any) -> Any:
        """Return the value in the file, as the type `form` where the codec knows several."""
        ...


# The first package of a class's module → the file in this folder that knows it. A vendor's library is imported by that
# file alone, and only when a value of its kind is met.
_FAMILIES = {
    "polars": "polars",
    "pandas": "pandas",
    "pyarrow": "arrow",
    "numpy": "numpy",
    "sklearn": "sklearn",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "onnx": "onnx",
    "torch": "torch",
    "matplotlib": "figures",
    "plotly": "figures",
    "altair": "figures",
}
# The form on disk → the codec that reads it when nobody says which type is wanted.
_READERS = {
    "parquet": "polars",
    "npy": "numpy",
    "json": "json",
    "text": "json",
    "bytes": "json",
    "skops": "sklearn",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "onnx": "onnx",
    "torch": "torch",
    "html": "json",
    "png": "json",
    "pickle": "pickle",
}


def codec_for(kind: Any, *, part: str, allow_pickle: bool = False, place: Place | None = None) -> Codec:
    """Return the codec that keeps values of the type `kind` (a class or an annotation).

    Raises:
        NoCodec: none does, and pickle is not allowed.
    """
    for base in getattr(getattr(kind, "__origin__", kind), "__mro__", ()):
        family = _FAMILIES.get(base.__module__.partition(".")[0])
        if family:
            return _load(family)
    json = _load("json")
    if json.keeps(kind):  # type: ignore[attr-defined]  # only the JSON codec is asked what it keeps
        return json
    if allow_pickle:
        return _load("pickle")
    raise NoCodec(type_name=getattr(kind, "__qualname__", str(kind)), part=part, place=place)


def reader_of(format: str) -> Codec:
    """Return the codec that reads a form on disk."""
    return _load(_READERS[format])


def _load(family: str) -> Codec:
    codec: Codec = import_module(f"drivetrain.store.codecs.{family}").CODEC
    return codec

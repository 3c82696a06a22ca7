"""How values become files and come back: a codec for each family of types, found by the type alone."""

from __future__ import annotations

import types
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, Union, get_args, get_origin

from drivetrain.errors import MissingExtra, NoCodec, Place, Refused, StoreError

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
        """Write `value` into the new file `path`; the same value gives the same bytes.

        Raises:
            Unkeepable: it holds something that the form on disk cannot hold.
            OSError: the file cannot be written; `errno` is set.
        """
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
    "onnxruntime": "onnx",
    "torch": "torch",
    "matplotlib": "figures",
    "plotly": "figures",
    "altair": "figures",
}
# The form on disk → the codec that reads it when nobody says which type is wanted.
READERS = {
    "parquet": "polars",
    "npy": "numpy",
    "json": "json",
    "text": "text",
    "html": "text",
    "bytes": "bytes",
    "png": "bytes",
    "skops": "sklearn",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "onnx": "onnx",
    "torch": "torch",
    "pickle": "pickle",
}
# The extra that brings the library of a codec, for those that are not installed with Drivetrain.
_EXTRAS = {
    "pandas": "pandas",
    "arrow": "arrow",
    "sklearn": "sklearn",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "onnx": "onnx",
    "torch": "torch",
}


def codec_for(kind: Any, *, part: str, allow_pickle: bool = False, place: Place | None = None) -> Codec:
    """Return the codec that keeps values of the type `kind` (a class or an annotation).

    Raises:
        NoCodec: none does, and pickle is not allowed.
        MissingExtra: its library is not installed.
    """
    family = family_of(kind)
    if family is not None:
        return codec_named(family)
    if allow_pickle:
        return codec_named("pickle")
    raise NoCodec(type_name=getattr(kind, "__qualname__", str(kind)), part=part, place=place)


def reader_of(format: str, form: Any = None, *, allow_pickle: bool = False) -> Codec:  # noqa: A002  # the word for it
    """Return the codec that reads a form on disk, the one of the type `form` where that can read it.

    Raises:
        Refused: it is a pickle, and pickle is not allowed.
    """
    if format not in READERS:
        raise StoreError(
            f"an artifact has the form {format!r}, which this version does not know",
            remedy="a newer version of Drivetrain wrote it: upgrade",
        )
    if format == "pickle" and not allow_pickle:
        raise Refused(
            "an artifact is a pickle, which can run any code when read, and this project does not allow it",
            remedy="run its step again with a type that can be kept safely; or set `allow_pickle = true` under "
            "[store] in drivetrain.toml if you trust whoever wrote it",
        )
    family = family_of(form) if form is not None else None
    if family is not None and family != READERS[format]:
        wanted = codec_named(family)
        if format in wanted.formats:
            return wanted
    return codec_named(READERS[format])


@lru_cache(maxsize=1024)
def family_of(kind: Any) -> str | None:
    """Return the name of the codec that keeps values of this type or annotation; None when no safe one does.

    >>> family_of(str), family_of(dict[str, int] | None), family_of(object)
    ('text', 'json', None)
    """
    kind = plain_form(kind)
    for base in getattr(get_origin(kind) or kind, "__mro__", ()):
        family = _FAMILIES.get(base.__module__.partition(".")[0])
        if family:
            return family
    if kind is str:
        return "text"
    if kind is bytes:
        return "bytes"
    keeps: bool = codec_named("json").keeps(kind)  # type: ignore[attr-defined]  # only this one is asked what it keeps
    return "json" if keeps else None


def plain_form(form: Any) -> Any:
    """Return an annotation without what does not decide the codec: `Annotated`, and `| None`.

    >>> plain_form(Annotated[str | None, "a note"])
    <class 'str'>
    """
    if get_origin(form) is Annotated:
        return plain_form(get_args(form)[0])
    if get_origin(form) in (Union, types.UnionType):
        options = [option for option in get_args(form) if option is not types.NoneType]
        if len(options) == 1:
            return plain_form(options[0])
    return form


def fits(value: Any, form: Any) -> bool:
    """Return whether a value is of the wanted type, as far as the type's codec can tell.

    >>> fits(1, dict), fits({}, dict | None), fits(1, object)
    (False, True, True)
    """
    kind = plain_form(form)
    if value is None or not isinstance(kind, type) or family_of(kind) is None:
        return True
    try:
        return isinstance(value, kind)
    except TypeError:
        return True  # a TypedDict, a protocol: what reads them has checked


@lru_cache(maxsize=64)
def codec_named(family: str) -> Codec:
    """Return the codec in the file of that name.

    Raises:
        MissingExtra: its library is not installed.
    """
    try:
        codec: Codec = import_module(f"drivetrain.store.codecs.{family}").CODEC
    except ModuleNotFoundError as error:
        if family not in _EXTRAS or (error.name or "").startswith("drivetrain"):
            raise
        raise MissingExtra(
            library=error.name or family, extra=_EXTRAS[family], purpose=f"keeping what {family} makes"
        ) from error
    return codec

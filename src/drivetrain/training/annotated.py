"""What a function takes and gives, read from its annotations: the columns of a signature, and the types behind them."""

from __future__ import annotations

import inspect
import types
from collections import abc
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from drivetrain.data.kinds.kind import KINDS
from drivetrain.data.schema import Column, Kind
from drivetrain.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivetrain.errors import Place

_SCALARS: dict[Any, tuple[Kind, str]] = {
    bool: ("bool", "Boolean"),
    int: ("int", "Int64"),
    float: ("float", "Float64"),
    str: ("str", "String"),
}
_ENDLESS = (abc.Iterator, abc.Iterable, abc.Generator, abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator)


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What a function takes and gives.

    `types` are what checks each column's JSON, where that is more than its kind. `optional` are the parameters with a
    default. A function that `is_batch` takes a list of values in each parameter, and gives a list. One that `streams`
    gives its pieces one after another; one that `is_async` is awaited.
    """

    columns: list[Column]
    types: dict[str, Any]
    optional: frozenset[str]
    output: Column
    is_batch: bool
    streams: bool
    is_async: bool


def form_of(function: Callable[..., Any], *, batch: bool | None, place: Place) -> Form:
    """Return what a method takes, beside itself, and gives; `batch` None leaves that to its annotations.

    Raises:
        DeclarationError: an annotation is missing, or is of no kind of value that a request can hold.
    """
    name = function.__name__
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"an annotation of {name!r} cannot be understood: {error}",
            remedy="import the type at the top of the file, outside `if TYPE_CHECKING`",
            place=place,
        ) from error
    parameters = list(inspect.signature(function).parameters.values())[1:]
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
            raise DeclarationError(
                f"{name!r} takes {each}, so nothing says what a request holds",
                remedy="name each value as a parameter of its own, with its type",
                place=place,
            )
        if each.name not in hints:
            raise DeclarationError(
                f"the parameter {each.name!r} of {name!r} has no annotation",
                remedy=f"say what it is, for example `{each.name}: str` or `{each.name}: dt.Image`",
                place=place,
            )
    if "return" not in hints:
        raise DeclarationError(
            f"{name!r} does not say what it returns", remedy="annotate it, for example `-> str`", place=place
        )
    given = hints["return"]
    streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    if streams:
        given = _inner(given, _ENDLESS, name, place)
    wanted = {each.name: hints[each.name] for each in parameters}
    lists = [get_origin(_bare(hint)) is list for hint in (*wanted.values(), given)]
    is_batch = (bool(wanted) and all(lists) and not streams) if batch is None else batch
    if is_batch:
        if not all(lists) or streams:
            raise DeclarationError(
                f"{name!r} is to take a batch, and not all that it takes and gives are lists",
                remedy="annotate each parameter and the return as a list of what one request holds, such as "
                "`images: list[dt.Image]`, and leave out `batch=True` where it takes one at a time",
                place=place,
            )
        wanted = {word: get_args(_bare(hint))[0] for word, hint in wanted.items()}
        given = get_args(_bare(given))[0]
    optional = frozenset(each.name for each in parameters if each.default is not each.empty)
    if is_batch and optional:
        raise DeclarationError(
            f"{name!r} takes a batch, and {', '.join(sorted(optional))} has a default for all of it",
            remedy="leave the default out, and write `list[T | None]`: what a request leaves out is None in the list; "
            "or take it in `load` as a setting",
            place=place,
        )
    columns = [column_of(word, hint, place=place) for word, hint in wanted.items()]
    # A default is what a request is shown with: it is known to be right.
    defaults = {each.name: each.default for each in parameters if isinstance(each.default, bool | int | float | str)}
    columns = [msgspec.structs.replace(each, example=defaults.get(each.name, each.example)) for each in columns]
    return Form(
        columns=columns,
        types={
            column.name: _bare(hint)
            for column, hint in zip(columns, wanted.values(), strict=True)
            if column.kind == "structure"
        },
        optional=optional,
        output=column_of("prediction", given, place=place),
        is_batch=is_batch,
        streams=streams,
        is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
    )


def column_of(name: str, hint: Any, *, place: Place) -> Column:
    """Return the column of values of an annotation.

    Raises:
        DeclarationError: no kind of value is behind it.
    """
    hint, nullable = _without_none(hint)
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    kind = get_args(hint)[0] if notes else hint
    for note in notes:
        if hasattr(note, "column"):  # a Tensor, or rules for images
            found: Column = note.column(name, nullable=nullable)
            return found
    if hasattr(kind, "KIND_OF_VALUE"):  # an Image
        made: Column = kind.KIND_OF_VALUE().column(name, nullable=nullable)
        return made
    if kind in _SCALARS and not any(isinstance(note, msgspec.Meta) for note in notes):
        scalar, dtype = _SCALARS[kind]
        return Column(name=name, kind=scalar, dtype=dtype, nullable=nullable)
    if getattr(kind, "__module__", "").partition(".")[0] in ("numpy", "torch", "PIL"):
        raise DeclarationError(
            f"{name!r} is annotated with {kind.__qualname__}, which does not say of which shape or type",
            remedy=f'write `{name}: Annotated[np.ndarray, dt.Tensor("float32", (None, 3))]`, or `{name}: dt.Image`',
            place=place,
        )
    from drivetrain.data.kinds.structure import structure_column

    try:
        return structure_column(name, hint, nullable=nullable)
    except TypeError as error:
        raise DeclarationError(
            f"{name!r} is annotated with {kind}, and no request can hold that: {error}",
            remedy="take numbers, texts, lists, a dataclass, TypedDict or msgspec.Struct, a tensor "
            f"({', '.join(KINDS)}: see docs/models.md) or an image",
            place=place,
        ) from error


def _bare(hint: Any) -> Any:
    """Return an annotation without `| None`."""
    return _without_none(hint)[0]


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        rest = [each for each in get_args(hint) if each is not type(None)]
        return (rest[0] if len(rest) == 1 else Union[tuple(rest)]), True  # noqa: UP007  # made at run time
    return hint, False


def _inner(hint: Any, outer: tuple[Any, ...], name: str, place: Place) -> Any:
    if get_origin(hint) in outer and get_args(hint):
        return get_args(hint)[0]
    raise DeclarationError(
        f"{name!r} is a generator, and its annotation does not say of what",
        remedy="annotate it, for example `-> Iterator[str]` or `-> AsyncIterator[str]`",
        place=place,
    )

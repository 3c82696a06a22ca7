"""What a user writes down of a part: arguments that do not fit are refused by name, at the user's own line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from drivetrain.errors import DeclarationError, UnknownName
from drivetrain.system.caller import caller
from drivetrain.system.conduct import Options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from inspect import Parameter

    from msgspec import StructMeta
else:  # its public name is younger than the oldest msgspec
    StructMeta = type(msgspec.Struct)

F = TypeVar("F", bound=Callable[..., Any])
_TAKES_OPTIONS = 0x08  # the code flag of **options


_RECORD: ContextVar[list[Any] | None] = ContextVar("record", default=None)


@contextmanager
def recorded() -> Iterator[list[Any]]:
    """Give a list of what is declared meanwhile, so that nothing of it is overlooked when a system is put together."""
    made: list[Any] = []
    token = _RECORD.set(made)
    try:
        yield made
    finally:
        _RECORD.reset(token)


class Declared(StructMeta):
    """The kind of a class that users make values of.

    `WORDS` of such a class has the user's word for a field whose own name means something else as an attribute.
    """

    def __call__(cls, *given: Any, **named: Any) -> Any:  # noqa: N805  # it is the class that is called
        words: Mapping[str, str] = getattr(cls, "WORDS", {})
        try:
            made = super().__call__(*given, **{words.get(name, name): value for name, value in named.items()})
        except TypeError:
            _refuse(cls.__name__, _parameters_of(cls, words), given, named)
            raise
        record = _RECORD.get()
        if record is not None:
            record.append(made)
        return made


def declares(function: F) -> F:
    """Give a function that users declare something with the refusal of arguments that do not fit.

    >>> @declares
    ... def between(column, low, high):
    ...     return low < high
    >>> between("miles", 0, hihg=9)
    Traceback (most recent call last):
    drivetrain.errors.UnknownName: <...>:1: no argument of dt.between is named 'hihg'
      → did you mean high?
    """
    code = function.__code__
    known = {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], *Options.__annotations__}

    @wraps(function)
    def declared(*given: Any, **named: Any) -> Any:
        if code.co_flags & _TAKES_OPTIONS and not known.issuperset(named):
            strange = next(word for word in named if word not in known)
            named_by = sorted(known - set(code.co_varnames[: code.co_posonlyargcount]))
            raise UnknownName(kind=f"argument of dt.{function.__name__}", name=strange, known=named_by, place=caller())
        try:
            return function(*given, **named)
        except TypeError:
            from inspect import signature

            _refuse(function.__name__, list(signature(function).parameters.values()), given, named)
            raise

    return declared  # type: ignore[return-value]  # it takes and gives what the function does


def _parameters_of(cls: Any, words: Mapping[str, str]) -> list[Parameter]:
    """Return what a user may give, by the user's words; where it was declared is not a user's to say.

    The signature that msgspec tells would need each annotation to be a name that is there at run time.
    """
    from inspect import Parameter

    said = {field: word for word, field in words.items()}
    required = len(cls.__struct_fields__) - len(cls.__struct_defaults__)
    return [
        Parameter(
            said.get(field, field),
            Parameter.POSITIONAL_OR_KEYWORD if field in cls.__match_args__ else Parameter.KEYWORD_ONLY,
            default=Parameter.empty if place < required else None,
        )
        for place, field in enumerate(cls.__struct_fields__)
        if field not in ("place", "conduct")
    ]


def _refuse(name: str, parameters: Sequence[Parameter], given: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Raise what is wrong with the arguments of a call, if it is they that are wrong."""
    from inspect import Signature

    try:
        Signature(parameters).bind(*given, **named)
    except TypeError as error:
        known = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        strange = next((word for word in named if word not in known), None)
        if strange is not None and known:
            raise UnknownName(kind=f"argument of dt.{name}", name=strange, known=known, place=caller()) from error
        wrong = f"it takes nothing by name, not {strange}" if strange is not None else str(error)
        raise DeclarationError(
            f"dt.{name} does not take what it is given: {wrong}",
            remedy=f"write `dt.{name}({', '.join(_written(each) for each in parameters)})`",
            place=caller(),
        ) from error


def _written(parameter: Parameter) -> str:
    if parameter.kind == parameter.VAR_POSITIONAL:
        return f"{parameter.name}, …"
    is_named = parameter.kind == parameter.KEYWORD_ONLY or parameter.default is not parameter.empty
    return f"{parameter.name}=…" if is_named and parameter.kind != parameter.POSITIONAL_ONLY else parameter.name

"""A part that is a function of the user's: its parameters are its edges, its defaults the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack, get_args, get_origin, get_type_hints, overload

import msgspec

from drivetrain.errors import BadSetting, DeclarationError, MissingAnnotation, Place, UnknownName
from drivetrain.system.caller import caller
from drivetrain.system.conduct import Options, conduct_of
from drivetrain.system.declaration import declares
from drivetrain.system.outside import files_matching, files_of, filled, names_in, words_in
from drivetrain.system.part import Job, Output, Part
from drivetrain.system.periods import Periods

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_TAKES_VARIABLE = 0x04 | 0x08  # the code flags of *args and **kwargs
_EMPTY: dict[str, Any] = {}


class FunctionPart(Part, frozen=True, kw_only=True, eq=False):
    """A part made by decorating a function; calling it calls the function, as if nothing had been declared."""

    RUNS = True

    function: Callable[..., Any]
    # Environment variables, and files or patterns, that the function reads.
    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @classmethod
    def of(cls, function: Callable[..., Any], /, *, options: Options | None = None, **declared: Any) -> Self:
        """Declare `function`, with what the decorator was given; `options` say how it is carried out.

        Raises:
            DeclarationError: it is no plain function, or takes *args or **kwargs.
        """
        code = getattr(function, "__code__", None)
        if code is None:
            raise DeclarationError(
                f"@dt.{cls.ROLE} was given {type(function).__name__}, which is not a plain function",
                remedy=f"write `@dt.{cls.ROLE}` above a `def`; its options are keywords",
                place=caller(),
            )
        place = Place(code.co_filename, code.co_firstlineno)
        if code.co_flags & _TAKES_VARIABLE:
            raise DeclarationError(
                f"{function.__name__!r} takes *args or **kwargs, so nothing says what it needs",
                remedy="name each input as a parameter of its own",
                place=place,
            )
        options = options or {}
        declared["env"] = names_in(options.get("env", ()), "env", place=place)
        declared["files"] = names_in(options.get("files", ()), "files", place=place)
        conduct = conduct_of(options, place=place)
        return cls(name=function.__name__, place=place, function=function, conduct=conduct, **declared)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.function(*args, **keywords)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.function

    def parameters(self) -> tuple[str, ...]:
        """Return the names of all parameters, in order."""
        code = self.function.__code__
        return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    def settings(self) -> dict[str, Any]:
        code = self.function.__code__
        defaults = self.function.__defaults__ or ()
        named = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        return dict(zip(named, defaults, strict=True)) | (self.function.__kwdefaults__ or {})

    def needs(self, parts: Mapping[str, Part]) -> dict[str, str]:
        settings, each = self.settings(), self.conduct.sources()
        named = {name: each.get(name, name) for name in self.parameters() if name not in settings}
        return {name: source for name, source in named.items() if isinstance(source, str)}

    def refers(self) -> tuple[Part, ...]:
        mentioned = (self.conduct.when, *self.conduct.each.values())
        return tuple(part for part in mentioned if isinstance(part, Part))

    def optional(self) -> frozenset[str]:
        return frozenset(
            name for name, hint in self.annotations().items() if hint is None or type(None) in get_args(hint)
        )

    def annotations(self) -> dict[str, Any]:
        """Return the annotations, those written as text resolved where the function stands.

        Raises:
            DeclarationError: one names something that is not there.
        """
        found = self.function.__annotations__
        if not any(isinstance(hint, str) for hint in found.values()):
            return found
        try:
            return get_type_hints(self.function)
        except NameError as error:
            raise DeclarationError(
                f"an annotation of {self.name!r} cannot be understood: {error}",
                remedy="import the type at the top of the file, outside `if TYPE_CHECKING`",
                place=self.place,
            ) from error

    def outputs(self) -> dict[str, Any]:
        return {self.name: self.annotations().get("return")}

    def environment_read(self) -> tuple[str, ...]:
        return self.env

    def files_read(self, root: Path, items: Sequence[Mapping[str, str]] = ()) -> dict[str, Path]:
        by_item = self.files_of_items()
        patterns = [pattern for pattern in self.files if pattern not in by_item]
        found = {}
        for item in items:
            for pattern in by_item:
                name = filled(pattern, item)
                if self.is_there(item, root):
                    patterns.append(name)
                else:
                    found[name] = root / name
        return found | files_of(list(dict.fromkeys(patterns)), root, part=self.name, place=self.place)

    def files_of_items(self) -> tuple[str, ...]:
        return tuple(pattern for pattern in self.files if self.conduct.each.keys() & set(words_in(pattern)))

    def is_there(self, item: Mapping[str, str], root: Path) -> bool:
        """Return whether an item's files are there; only periods without an end may be late."""
        if not any(isinstance(source, Periods) and source.is_open for source in self.conduct.each.values()):
            return True
        return all(files_matching(filled(pattern, item), root) for pattern in self.files_of_items())

    def function_of(self) -> Any:
        return self.function

    def check(self, parts: Mapping[str, Part]) -> None:
        if "return" not in self.annotations():
            raise MissingAnnotation(part=self.name, example="pl.DataFrame", place=self.place)
        self._check_conduct(parts)
        check_settings(self)

    def _check_conduct(self, parts: Mapping[str, Part]) -> None:
        inputs = [name for name in self.parameters() if name not in self.settings()]
        for word in self.conduct.each:
            if word not in inputs:
                raise UnknownName(kind=f"parameter of {self.name!r}", name=word, known=inputs, place=self.place)
        for word in (word for pattern in self.files for word in words_in(pattern)):
            if self.conduct.each and word not in self.conduct.each:
                raise UnknownName(
                    kind=f"mapped parameter of {self.name!r}",
                    name=word,
                    known=list(self.conduct.each),
                    place=self.place,
                )
        when = self.conduct.condition
        if when and parts[when].outputs()[when] not in (bool, None, Any):
            raise DeclarationError(
                f"{self.name!r} runs when {when!r} is true, and that is no bool",
                remedy=f"name a step that returns a bool: `def {when}(...) -> bool`",
                place=self.place,
            )

    def perform(self, job: Job) -> dict[str, Output]:
        return self.outputs_from(self.call(job), job)

    def call(self, job: Job, **instead: Any) -> Any:
        """Call the function with its inputs and settings; `instead` replaces inputs by name."""
        hints = self.annotations()
        settings = self.settings()
        arguments = {
            name: instead[name]
            if name in instead
            else job.settings[name]
            if name in settings
            else job.value(name, hints.get(name))
            for name in self.parameters()
        }
        return self.function(**arguments)

    def outputs_from(self, result: Any, job: Job) -> dict[str, Output]:
        """Return what comes of what the function returned, by the name of each output."""
        return {self.name: Output(result)}


class Step(FunctionPart, frozen=True, kw_only=True, eq=False):
    """A function with no special role. With `outputs`, it returns a tuple or dict of several things.

    >>> Step.of(lambda: 1).settings()
    {}
    """

    ROLE = "step"

    outputs_named: tuple[str, ...] = ()

    def outputs(self) -> dict[str, Any]:
        if not self.outputs_named:
            return super().outputs()
        hint = self.annotations().get("return")
        options = get_args(hint) if get_origin(hint) is tuple else ()
        if len(options) != len(self.outputs_named):
            options = (None,) * len(self.outputs_named)
        return dict(zip(self.outputs_named, options, strict=True))

    def outputs_from(self, result: Any, job: Job) -> dict[str, Output]:
        if not self.outputs_named:
            return super().outputs_from(result, job)
        values = [result.get(name, _EMPTY) for name in self.outputs_named] if isinstance(result, dict) else list(result)
        if len(values) != len(self.outputs_named) or any(value is _EMPTY for value in values):
            raise ValueError(
                f"{self.name!r} declares the outputs {', '.join(self.outputs_named)} and must return all of them, "
                "as a tuple in that order or as a dict"
            )
        return {name: Output(value) for name, value in zip(self.outputs_named, values, strict=True)}


@overload
def step(function: Callable[..., Any], /) -> Step: ...
@overload
def step(
    *, outputs: str | tuple[str, ...] | list[str] = (), **options: Unpack[Options]
) -> Callable[[Callable[..., Any]], Step]: ...
@declares
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    outputs: str | tuple[str, ...] | list[str] = (),
    **options: Unpack[Options],
) -> Any:
    """Declare a function as a step: whatever it returns is kept, and it runs again only when something changed.

    With `outputs`, it returns a tuple in that order, or a dict, and each is an output of its own. The other options say
    what it reads beside its inputs, and how it is carried out; every decorator of a function takes them:

    - `env=["API_URL"]`, `files=["config.yaml", "sql/*.sql"]`: environment variables and files that it reads, from the
      project's folder; when one changes, it runs again.
    - `each={"month": "months"}`: once for each item of `months`, at once where the machine allows it. A step that takes
      the whole of it gets a list, a dict, or one table. Instead of a name there may be a list, or
      `dt.monthly("2013-01")` and its like; `files=["data/{month}.csv"]` then are each item's own.
    - `when="is_worth_it"`: only when that step's bool is true; otherwise it, and what needs it, is skipped. A parameter
      that may be None is then None.
    - `retry=3`, or `dt.Retry(3, wait_s=2)`: tried again when its failure may be over in a moment.
    - `timeout_s`, `memory_gib`, `gpu`, `isolated=True`: in a process of its own, which is ended at the limit.
    - `cpu=2`: how many processors it takes; it counts as so many of the steps that run at once.

    >>> @step
    ... def answer() -> int:
    ...     return 42
    >>> answer()
    42
    """
    declared: dict[str, Any] = {
        "outputs_named": (outputs,) if isinstance(outputs, str) else tuple(outputs),
        "options": options,
    }
    if function is not None:
        return Step.of(function, **declared)
    return lambda function: Step.of(function, **declared)


def check_settings(part: Part) -> None:
    """Make sure that the settings of a part can be written down.

    Raises:
        BadSetting: one cannot.
    """
    for name, default in part.settings().items():
        if not is_plain(default):
            raise BadSetting(
                setting=f"{part.name}.{name}",
                found=f"{type(default).__name__}, which cannot be written down",
                right="give it a number, text, bool, None, or a list or dict of these",
                place=part.place,
            )


def is_plain(value: Any) -> bool:
    """Return whether a value can be a setting: something JSON can hold.

    >>> is_plain({"depth": [1, 2]}), is_plain(object())
    (True, False)
    """
    if value is None or isinstance(value, (str, int, float, bool)):
        return True
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    return isinstance(value, msgspec.Struct) and not isinstance(value, Part)

"""A predictor of the user's own: a class that loads what it needs and answers, with its signature in annotations."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, overload

import msgspec

from drivetrain.errors import DeclarationError, Place, UnknownName
from drivetrain.system.caller import caller
from drivetrain.system.declaration import declares
from drivetrain.system.function import check_settings
from drivetrain.training.annotated import Form, form_of
from drivetrain.training.call import bound_to, calls_in, calls_of
from drivetrain.training.ready import Belongings, Ready, laid_out, values_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drivetrain.store.store import Store
    from drivetrain.system.part import Job, Part
    from drivetrain.training.signature import Signature


class Custom(Ready, frozen=True, kw_only=True, eq=False):
    """A class with `load` and `predict`; calling the part makes the class as if nothing had been declared.

    The parameters of `load` are what it needs: a path where `files` names one, a setting where it has a default, and
    otherwise the output of another part.
    """

    RUNS: ClassVar[bool] = True
    ANSWERS_BY: ClassVar[str] = "its class"

    made: Any
    files: dict[str, str] = {}
    batch: bool | None = None

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.made(*given, **named)

    @property
    def form(self) -> Form:
        """What `predict` takes and gives."""
        return form_of(self.made.predict, batch=self.batch, place=self.place)

    def _loads(self) -> list[inspect.Parameter]:
        load = getattr(self.made, "load", None)
        return list(inspect.signature(load).parameters.values())[1:] if load is not None else []

    def paths(self) -> Mapping[str, str]:
        return self.files

    def settings(self) -> dict[str, Any]:
        return {each.name: each.default for each in self._loads() if each.default is not each.empty}

    def needs(self, parts: Mapping[str, Part]) -> dict[str, str]:
        settings = self.settings()
        names = [each.name for each in self._loads() if each.name not in settings and each.name not in self.files]
        return {name: name for name in names}

    def function_of(self) -> Any:
        return self.made

    def called(self) -> tuple[Part, ...]:
        """Return the services that the class calls, each once."""
        found = [call.service for value in calls_of(self.made).values() for call in calls_in(value)]
        return tuple(dict.fromkeys(found))

    def refers(self) -> tuple[Part, ...]:
        return self.called()

    def declared(self) -> dict[str, Any]:
        return {"files": self.files, "batch": self.batch}

    def check(self, parts: Mapping[str, Part]) -> None:
        form = form_of(self.made.predict, batch=self.batch, place=self.place)
        if self.called() and not form.is_async:
            raise DeclarationError(
                f"{self.made.__name__} calls {self.called()[0].name!r}, and its `predict` cannot await an answer",
                remedy="write `async def predict`, and `await` each call",
                place=self.place,
            )
        known = [each.name for each in self._loads()]
        for word in self.files:
            if word not in known:
                raise UnknownName(kind=f"parameter of {self.name}.load", name=word, known=known, place=self.place)
        check_settings(self)

    def load(self, store: Store, belongings: Belongings) -> Any:
        """Return an object of the class, loaded."""
        model = self.made()
        for name, value in calls_of(self.made).items():
            setattr(model, name, bound_to(value, store))
        loads = self._loads()
        if not hasattr(self.made, "load"):
            return model
        hints = getattr(self.made.load, "__annotations__", {})
        paths = laid_out(store, belongings)
        arguments: dict[str, Any] = {}
        for each in loads:
            if each.name in paths:
                path = paths[each.name]
                arguments[each.name] = str(path) if hints.get(each.name) in (str, "str") else path
            elif each.name in belongings.inputs:
                hint = hints.get(each.name)
                form = None if isinstance(hint, str) else hint
                arguments[each.name] = store.value(belongings.inputs[each.name], form)
            elif each.name in belongings.settings:
                arguments[each.name] = belongings.settings[each.name]
        model.load(**arguments)
        return model

    def answering(self, model: Any, belongings: Belongings) -> CustomModel:
        return CustomModel(model, self.form)

    def signature(self, model: Any) -> Signature:
        form = self.form
        columns = [
            msgspec.structs.replace(column, nullable=True) if column.name in form.optional else column
            for column in form.columns
        ]
        return values_signature(columns, [form.output], label="prediction", streams=form.streams)


class Composed(Custom, frozen=True, kw_only=True, eq=False):
    """A class that calls services: what it answers depends on their champions, which no key of a step knows.

    Each run therefore loads it anew, once the gates of what it calls have decided; where one of those has another
    champion now, its evaluations run again. Its own version stays the same as long as its own code does.
    """

    CACHED: ClassVar[bool] = False

    def follows(self, parts: Mapping[str, Part]) -> tuple[str, ...]:
        models: list[Any] = [getattr(service, "model", None) for service in self.called()]
        gates: dict[str, Any] = {name: part for name, part in parts.items() if part.ROLE == "gate"}
        return tuple(name for name, gate in gates.items() if gate.model in models)

    def built(self, model: Any, belongings: Belongings, job: Job) -> Belongings:
        calls = [call for value in calls_of(self.made).values() for call in calls_in(value)]
        versions = {call.service.name: call.version_now(job.store) for call in calls}
        return msgspec.structs.replace(belongings, found={"calls": versions})


class CustomModel:
    """An object of a user's class, as what answers rows of a request's values."""

    def __init__(self, model: Any, form: Form) -> None:
        self._predict, self.form = model.predict, form
        self._names = [column.name for column in form.columns]

    def arguments(self, row: tuple[Any, ...]) -> dict[str, Any]:
        """Return what `predict` is called with for one row; what was left out has its default."""
        return {
            name: value
            for name, value in zip(self._names, row, strict=True)
            if value is not None or name not in self.form.optional
        }

    def call(self, row: tuple[Any, ...]) -> Any:
        """Return what `predict` gives for one row: a value, something to be awaited, or a generator."""
        return self._predict(**self.arguments(row))

    def answer(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not self.form.is_batch:
            return [self.call(row) for row in rows]
        return self._checked(self._predict(**self._columns(rows)), rows)

    async def batch(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what an async `predict` gives for a batch."""
        return self._checked(await self._predict(**self._columns(rows)), rows)

    def _columns(self, rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
        return {name: [row[place] for row in rows] for place, name in enumerate(self._names)}

    def _checked(self, found: Any, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not isinstance(found, list) or len(found) != len(rows):
            what = f"{len(found)} values" if isinstance(found, list) else type(found).__name__
            raise ValueError(f"predict gave {what} for a batch of {len(rows)}, and must give a list with one for each")
        return found


@overload
def predictor(made: type, /) -> Custom: ...
@overload
def predictor(
    *, files: Mapping[str, str | Path] | None = None, batch: bool | None = None
) -> Callable[[type], Custom]: ...
@declares
def predictor(
    made: type | None = None, /, *, files: Mapping[str, str | Path] | None = None, batch: bool | None = None
) -> Any:
    """Declare a class with `load` and `predict` as a model that needs no training here.

    The annotations of `predict` are the signature: a request has a field for each parameter. Where each of them and the
    return is a list, it takes a batch: a list with the values of all requests that arrived together, and gives a list
    with an answer for each; `batch=False` says that the lists are what one request holds. `files` names a file or
    folder of the project for a parameter of `load`, which gets a path to it; one with a default is a setting, and any
    other the output of another part. A `predict` that is a generator streams.

    The part is named after the class, in small letters: `FrenchCaptions` is `french_captions`.

    >>> @predictor
    ... class Shout:
    ...     def predict(self, text: str) -> str:
    ...         return text.upper()
    >>> Shout.name, Shout().predict("hello")
    ('shout', 'HELLO')
    """
    place = caller()
    if made is None:
        return lambda made: _declared(made, files or {}, batch, place)
    return _declared(made, {}, None, place)


def _declared(made: Any, files: Mapping[str, str | Path], batch: bool | None, place: Place) -> Custom:
    if not isinstance(made, type):
        raise DeclarationError(
            f"@dt.predictor was given {made!r}, which is no class",
            remedy="write it above a class that has `predict`, and `load` where it needs anything",
            place=place,
        )
    if not callable(getattr(made, "predict", None)):
        raise DeclarationError(
            f"{made.__name__} has no `predict`, so nothing answers",
            remedy="define `def predict(self, …) -> …` in it",
            place=place,
        )
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", made.__name__).lower()
    kind = Composed if calls_of(made) else Custom
    return kind(name=name, place=place, made=made, files={word: str(path) for word, path in files.items()}, batch=batch)

"""A call as it is declared: an attribute of a class, to be awaited with a row or with rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from drivetrain.errors import CallFailed, DeclarationError, UsageError
from drivetrain.serving.calls.prediction import Prediction
from drivetrain.system.caller import caller
from drivetrain.training.call import Calls

if TYPE_CHECKING:
    from drivetrain.serving.calls.memory import Memory
    from drivetrain.store.store import Store
    from drivetrain.system.part import Part

T = TypeVar("T")
Row = Mapping[str, Any]


class Callee(Calls, Generic[T]):
    """A service that a class calls: `await self.expert(row)`, or with a list of rows, which go as one batch."""

    def __init__(self, service: Part, gives: Any = Any, store: Store | None = None) -> None:
        self.service, self.gives, self._store = service, gives, store
        self._memory: Memory | None = None

    def bound(self, store: Store) -> Callee[T]:
        return Callee(self.service, self.gives, store)

    def version_now(self, store: Store) -> str:
        from drivetrain.registry.registry import champion_of

        champion = champion_of(store.ledger, self.service.model.name)  # type: ignore[attr-defined]  # a service has it
        return champion.id if champion is not None else ""

    @overload
    async def __call__(self, row: Row, /) -> Prediction[T]: ...
    @overload
    async def __call__(self, rows: Sequence[Row], /) -> list[Prediction[T]]: ...
    async def __call__(self, given: Row | Sequence[Row], /) -> Prediction[T] | list[Prediction[T]]:
        """Return the answer to a row, or the answers to rows in their order, by the called service's own signature.

        Raises:
            CallFailed: it gave no answer; the error says with which status, and what was wrong.
            TypeError: JSON cannot hold a value.
        """
        is_many = not isinstance(given, Mapping)
        if is_many and not given:
            return []
        try:
            body = _ENCODER.encode(given)
        except TypeError as error:
            raise TypeError(
                f"the service {self.service.name!r} is called with what JSON cannot hold: {error}"
            ) from error
        answers = await self._asked(body, is_many=is_many)
        if self.gives is not Any:
            answers = [self._typed(each) for each in answers]
        return answers if is_many else answers[0]

    async def _asked(self, body: bytes, *, is_many: bool) -> list[Prediction[Any]]:
        from drivetrain.serving.calls.calling import calling_now
        from drivetrain.serving.calls.memory import Memory

        calling = calling_now()
        if calling is not None:
            return await calling.ask(self.service.name, body, is_many=is_many)
        if self._memory is None and self._store is None:
            raise UsageError(
                f"the service {self.service.name!r} cannot be called by an object that was made by hand",
                remedy="set the attribute to an async function of your own, or let a run, a lab or a server load it",
            )
        if self._memory is None and self._store is not None:
            self._memory = Memory(self.service, self._store)
        assert self._memory is not None
        return await self._memory.ask(body, is_many=is_many)

    def _typed(self, answer: Prediction[Any]) -> Prediction[T]:
        try:
            found = msgspec.convert(answer.prediction, self.gives)
        except msgspec.ValidationError as error:
            reason = f"{answer.version} gives what is no {getattr(self.gives, '__name__', self.gives)}: {error}"
            raise CallFailed(service=self.service.name, called_status=422, reason=reason) from error
        return Prediction(answer.id, answer.version, found, answer.probabilities)


def _plain(value: Any) -> Any:
    """Return arrays, numbers of numpy and images as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "KIND_OF_VALUE"):
        from base64 import b64encode

        return b64encode(value.data).decode()
    raise TypeError(f"it has a {type(value).__name__}")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


@overload
def calls(service: Part | Callee[Any], /) -> Callee[Any]: ...
@overload
def calls(service: Part | Callee[Any], gives: type[T], /) -> Callee[T]: ...
def calls(service: Part | Callee[Any], gives: Any = Any, /) -> Callee[Any]:
    """Declare that a class of `@dt.predictor` calls a service; `gives` is the type that predictions are turned into.

    It answers in the same worker, or at an address of its own where `serve.addresses` has one. What is left of the
    time of the request goes along, and a request that ends takes its calls with it.

    >>> from drivetrain.serving.service import Service
    >>> from drivetrain.training.custom import predictor
    >>> @predictor
    ... class Length:
    ...     def predict(self, text: str) -> int:
    ...         return len(text)
    >>> length = Service(Length, name="length")
    >>> @predictor
    ... class IsLong:
    ...     length = calls(length, int)
    ...
    ...     async def predict(self, text: str) -> bool:
    ...         return (await self.length({"text": text})).prediction > 80
    >>> [part.name for part in IsLong.called()]
    ['length']
    """
    if isinstance(service, Callee):  # within the class, an attribute hides the service of the same name
        service = service.service
    if getattr(service, "ROLE", "") != "service":
        raise DeclarationError(
            f"dt.calls is given {service!r}, which is no service",
            remedy="declare `NAME = dt.Service(model)` above the class, and give it that",
            place=caller(),
        )
    return Callee(service, gives)

"""Whom the service of a worker may call: each called service at its desk in the same worker, or at an address."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from drivetrain.errors import CallFailed, RequestError
from drivetrain.serving.batching import Reply, class_names
from drivetrain.serving.calls.prediction import Prediction
from drivetrain.serving.patience import Patience, patiently
from drivetrain.serving.route import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from drivetrain.serving.calls.addresses import Addresses
    from drivetrain.serving.calls.httpx import Elsewhere
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.service import Terms


class Port(Protocol):
    """Where one called service answers."""

    async def ask(self, body: bytes, *, is_many: bool, until: float) -> list[Prediction[Any]]:
        """Return its answers to a row, or to several, until when somebody waits for them by `time.monotonic`.

        Raises:
            CallFailed: it gave none.
        """
        ...

    def standing(self) -> tuple[Any, str]:
        """Return the versions that answer, or the address, and what is amiss; empty where nothing is."""
        ...

    async def health(self) -> str:
        """Return what is amiss where that has to be asked for."""
        ...


class Exchange:
    """The desks of one worker: those of the services that it answers for, and of those that these call."""

    def __init__(self, make_desk: Callable[..., Desk], addresses: Addresses) -> None:
        self._make_desk, self._addresses = make_desk, addresses
        self._desks: dict[str, Desk] = {}
        self._ports: dict[str, Port] = {}
        self._elsewhere: list[Elsewhere] = []

    def desk(self, service: Terms) -> Desk:
        """Return the desk of a service, with all that it calls: one for everybody who asks it, loaded once."""
        found = self._desks.get(service.name)
        if found is None:
            for each in service.calls:
                if each.name not in self._ports:
                    self._ports[each.name] = self._opened(each)
            found = self._desks[service.name] = self._make_desk(service=service, exchange=self)
        return found

    def _opened(self, service: Terms) -> Port:
        """Return where a called service answers: at its address, or else here."""
        if service.name not in self._addresses.urls:
            return Local(self.desk(service))
        from drivetrain.serving.calls.httpx import Elsewhere

        self._elsewhere.append(Elsewhere(service, self._addresses))
        return self._elsewhere[-1]

    @property
    def desks(self) -> list[Desk]:
        """All desks, a called one before those that call it."""
        return list(self._desks.values())

    def called(self, service: Terms) -> list[Desk]:
        """Return the desks here that a service calls, and those that these call."""
        found: dict[str, Desk] = {}
        for each in service.calls:
            if each.name not in self._addresses.urls:
                inner = {desk.service.name: desk for desk in self.called(each)}
                found |= {**inner, each.name: self._desks[each.name]}
        return list(found.values())

    @property
    def is_busy(self) -> bool:
        """Whether requests wait at a desk, or are being answered in a thread."""
        # Asked from other threads, also while the worker still opens desks.
        return any(desk.is_busy for desk in self.desks)

    def port(self, name: str) -> Port:
        """Return where a service answers.

        Raises:
            CallFailed: 503, a version that is older than the system calls what that does not have any longer.
        """
        found = self._ports.get(name)
        if found is None:
            raise CallFailed(service=name, called_status=503, reason="no service that the system has now calls it")
        return found

    def standing(self, names: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
        """Return who answers for each of some services, and what is amiss with them."""
        gone: tuple[Any, str] = ({}, "is called by a version, and by no service that the system has now")
        found = {name: self._ports[name].standing() if name in self._ports else gone for name in names}
        told = {name: who for name, (who, _) in found.items()}
        return told, [f"{name}: {problem}" for name, (_, problem) in found.items() if problem]

    async def health(self, service: Terms) -> list[str]:
        """Return what is amiss with those called services that have to be asked for it."""
        names = [each.name for each in service.calls]
        found = await asyncio.gather(*[self._ports[name].health() for name in names])
        return [f"{name}: {problem}" for name, problem in zip(names, found, strict=True) if problem]

    async def close(self) -> None:
        """Let all go."""
        for desk in reversed(self._desks.values()):
            desk.close()
        for port in self._elsewhere:
            await port.close()


class Local:
    """A called service at its desk in this worker: with its own versions, batches, limits, log and counters."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._name = desk, desk.service.name

    async def ask(self, body: bytes, *, is_many: bool, until: float) -> list[Prediction[Any]]:
        started, status = monotonic_ns(), 499
        try:
            answers = await self._answers(body, is_many, Patience(until))
            status = 200
            return answers
        except RequestError as error:
            status = error.status
            raise failed(self._name, error) from error
        finally:
            self._desk.counters.answered(status, started)

    async def _answers(self, body: bytes, is_many: bool, patience: Patience) -> list[Prediction[Any]]:
        desk = self._desk
        live = desk.live()
        if is_many:
            rows, texts = live.reader.many(body, limit=desk.service.max_rows)
            return predictions_of(await desk.ask(live, rows, texts, patience=patience))
        row = live.reader.one(body)
        if not live.streams:
            return predictions_of(await desk.ask(live, [row], [msgspec.Raw(body)], patience=patience))
        (text,) = live.reader.kept([row], [msgspec.Raw(body)])
        try:
            told = await patiently(desk.streams.whole(live, row, text), patience)
        except TimeoutError:
            raise RequestError(status=504, message="the stream did not end in time") from None
        return [Prediction(told["id"], told["version"], told["prediction"])]

    def standing(self) -> tuple[Any, str]:
        told = self._desk.readiness()
        problems = "; ".join(told.get("problems", []))
        return told["versions"], problems if told["status"] != "ready" else ""

    async def health(self) -> str:
        return "; ".join(await self._desk.health())


def predictions_of(reply: Reply) -> list[Prediction[Any]]:
    """Return a reply as its caller gets it."""
    if reply.probabilities is None:
        told = zip(reply.ids, reply.versions, reply.predictions, strict=True)
        return [Prediction(name, version, prediction) for name, version, prediction in told]
    classes = class_names(reply.classes)
    rows = zip(reply.ids, reply.versions, reply.predictions, reply.probabilities, strict=True)
    return [
        Prediction(name, version, prediction, dict(zip(classes, shares, strict=True)))
        for name, version, prediction, shares in rows
    ]


def failed(service: str, error: RequestError) -> CallFailed:
    """Return what the caller of a service is told of its refusal."""
    if isinstance(error, CallFailed) and error.service == service:
        return error
    return CallFailed(
        service=service,
        called_status=error.status,
        reason=in_words(error),
        problems=error.problems,
        error_id=error.error_id,
        retry_after_s=error.retry_after_s,
    )

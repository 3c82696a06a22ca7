"""Calls where no server is at work, as in evaluations, tests and jobs: the champion of the store answers in memory."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import CallFailed, RequestError
from drivetrain.serving.batching import Batch, Failure, Reply, answered, replies
from drivetrain.serving.calls.exchange import failed, predictions_of
from drivetrain.serving.live import load, reason_of, wanted
from drivetrain.serving.unreadable import placed
from drivetrain.store.record import new_id

if TYPE_CHECKING:
    from drivetrain.serving.calls.prediction import Prediction
    from drivetrain.serving.live import Live
    from drivetrain.store.store import Store


class Memory:
    """The versions of one called service, as a store has them at the moment. What they answer is not logged."""

    def __init__(self, service: Any, store: Store) -> None:
        self._service, self._store = service, store
        self._live: Live | None = None
        self._generation = -1
        # A model is used by one thread at a time.
        self._lock = threading.Lock()

    async def ask(self, body: bytes, *, is_many: bool) -> list[Prediction[Any]]:
        """Return what the service answers to a row, or to several.

        Raises:
            CallFailed: it has no champion, refuses a row, or fails.
        """
        # In a thread: what it calls itself may want a loop of its own.
        return await asyncio.to_thread(self._answer, body, is_many)

    def _answer(self, body: bytes, is_many: bool) -> list[Prediction[Any]]:
        with self._lock:
            try:
                reply = self._reply(self._current(), body, is_many)
            except RequestError as error:
                raise failed(self._service.name, error) from error
        return predictions_of(reply)

    def _reply(self, live: Live, body: bytes, is_many: bool) -> Reply:
        batch = Batch(live)
        if is_many:
            batch.add(*live.reader.many(body, limit=self._service.max_rows), "values")
        else:
            batch.add([live.reader.one(body)], [msgspec.Raw(body)], "values")
        batch.names = [new_id("pred") for _ in batch.rows]
        (reply,) = replies(batch, *answered(batch, self._service.max_batch))
        if isinstance(reply, Failure):
            raise placed(reply.error(), live.reader, batch.rows)
        assert isinstance(reply, Reply)
        return reply

    def _current(self) -> Live:
        service, ledger = self._service, self._store.ledger
        generation = ledger.generation()
        if generation != self._generation:
            want = wanted(ledger, service.name, service.model.name)
            if self._live is None or want.key != self._live.want.key:
                try:
                    self._live, _ = load(self._store, want, self._live)
                except Exception as error:  # the version's code is the user's, and may raise anything
                    raise CallFailed(service=service.name, called_status=503, reason=reason_of(error)) from error
            self._generation = generation
        if self._live is None:
            raise CallFailed(
                service=service.name, called_status=503, reason=f"{service.model.name} has no champion yet"
            )
        return self._live

"""Requests that are awaited one by one, beside the batches: of models that wait for something else to answer."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from time import monotonic, perf_counter_ns
from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import CallFailed, RequestError
from drivetrain.serving.batching import LOG, Answered, Batch, Failure, Form, Reply, failure_of, lines_of, replies
from drivetrain.serving.calls.calling import Calling
from drivetrain.serving.live import picked
from drivetrain.serving.patience import ENDLESS, Patience, patiently
from drivetrain.serving.rate import Rate
from drivetrain.training.trace import trace_now

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivetrain.serving.calls.exchange import Exchange
    from drivetrain.serving.counters import Counters
    from drivetrain.serving.journal import Names
    from drivetrain.serving.live import Arm, Live
    from drivetrain.serving.logbook import Logbook
    from drivetrain.serving.requests import Row
    from drivetrain.serving.service import Terms


class Direct:
    """Answers requests by models that are awaited; at most `max_concurrent` at once."""

    def __init__(
        self, service: Terms, *, names: Names, counters: Counters, logbook: Logbook, exchange: Exchange
    ) -> None:
        self._service, self._names, self._counters, self._logbook = service, names, counters, logbook
        self._exchange = exchange
        self._running = 0
        self.rate = Rate(service.max_per_s)

    async def answer(
        self,
        live: Live,
        rows: Sequence[Row],
        texts: Sequence[msgspec.Raw],
        form: Form,
        patience: Patience = ENDLESS,
        names: Sequence[str] = (),
    ) -> str | Reply:
        """Return what a request is told; when nobody waits for it any more, the model is stopped.

        `names` are the ids of the rows, where they have them already.

        Raises:
            RequestError: the client went away (499), the model failed (500), is asked by too many (503), or took too
                long (504).
        """
        with self.slot():
            batch = Batch(live)
            batch.add(rows, texts, form, trace_now())
            batch.names = list(names) or self._names.take(len(rows))
            return await self._answered(batch, patience)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of the `max_concurrent` places until the block ends.

        Raises:
            RequestError: all are taken (503), or too many requests came of late (429).
        """
        if self._running >= self._service.max_concurrent:
            message = f"{self._running} requests wait for the model, which is as many as may; try again in a second"
            raise RequestError(status=503, message=message)
        self.rate.take()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _answered(self, batch: Batch, patience: Patience) -> str | Reply:
        limit_s = patience.left_s(self._service.timeout_s)
        calling = Calling(self._exchange, monotonic() + limit_s)
        asked: list[Arm] = []
        started = perf_counter_ns()
        try:
            parts = await patiently(calling.of(self._parts(batch, limit_s, calling, asked)), patience, limit_s)
            (reply,) = replies(batch, parts, {})
            lines = lines_of(batch, parts)
        except TimeoutError:
            self._counters.add("expired")
            # A client that waits for less than the service does says nothing of how well the model is.
            if limit_s >= self._service.timeout_s and asked:
                asked[-1].was_late()
            message = f"the model did not answer within {limit_s:.3g} s"
            raise calling.timed_out(limit_s) or RequestError(status=504, message=message) from None
        except CallFailed as error:
            if error.status == 500:  # the code that calls is wrong, and this is where it stands
                LOG.error("%s", error.message, exc_info=error)
            raise
        except Exception as error:  # the model is the user's, and may raise anything
            raise failure_of(error, trace_now()).error() from None
        finally:
            calling.end()
            self._counters.add("busy_ns", perf_counter_ns() - started)
        assert not isinstance(reply, Failure)
        self._logbook.write(lines, len(batch.rows))
        self._counters.add("rows", len(batch.rows))
        self._counters.add("batches")
        return reply

    async def _parts(self, batch: Batch, limit_s: float, calling: Calling, asked: list[Arm]) -> list[Answered]:
        """Return what each arm answers; `asked` tells who was, the last of them at the moment."""
        found = []
        for arm, predictor, places, columns in batch.live.shares(batch.rows, batch.names, range(len(batch.rows))):
            rows = picked([batch.rows[place] for place in places], columns)
            asked.append(predictor)
            if predictor.is_awaited:
                answers = await predictor.awaited(rows, limit_s)
            else:
                answers = await asyncio.get_running_loop().run_in_executor(None, predictor.answer, rows)
            if arm == "canary":
                self._counters.add("rows_canary", len(places))
            if calls := calling.taken(len(places)):
                answers = msgspec.structs.replace(answers, calls=calls)
            found.append(Answered(arm, predictor, places, answers))
        return found

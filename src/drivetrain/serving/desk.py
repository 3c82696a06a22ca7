"""The desk of a worker: where every protocol hands in the rows of a request, and learns what answers."""

from __future__ import annotations

from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from drivetrain.errors import RequestError, StoreUnavailable, UnreadableImage
from drivetrain.serving.batching import Failure, Form, Reply
from drivetrain.serving.cache.rows import Rows
from drivetrain.serving.cache.sharing import Sharing
from drivetrain.serving.counters import Counters, Totals, exposition, merged, totals
from drivetrain.serving.direct import Direct
from drivetrain.serving.feedback import FeedbackLog, read_labels
from drivetrain.serving.journal import Journal, Names, folder_of
from drivetrain.serving.logbook import Logbook
from drivetrain.serving.patience import ENDLESS, Patience, unless_gone
from drivetrain.serving.queue import Queue
from drivetrain.serving.streaming import Streams
from drivetrain.serving.unreadable import placed
from drivetrain.serving.watcher import Watcher

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from drivetrain.serving.cache.control import Control
    from drivetrain.serving.calls.exchange import Exchange
    from drivetrain.serving.live import Live
    from drivetrain.serving.requests import Row
    from drivetrain.serving.service import Terms
    from drivetrain.serving.tables import Tables
    from drivetrain.store.store import Store

T = TypeVar("T")


class Desk:
    """What all protocols of one worker share: the versions that answer, the batches, the logs and the counters."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        service: Terms,
        store: Store,
        *,
        exchange: Exchange,
        grpc_port: int = 0,
    ) -> None:
        self.service, self.store, self.exchange, self._grpc_port = service, store, exchange, grpc_port
        self._loop = loop
        folder = folder_of(store, service.name)
        self._folder = folder
        self.counters = Counters(folder)
        self.logbook = Logbook(Journal(folder, "predictions"), self.counters)
        self._feedback = FeedbackLog(loop, Journal(folder, "feedback"), self.counters)
        self.names = Names()
        self._queue = Queue(
            loop,
            logbook=self.logbook,
            names=self.names,
            counters=self.counters,
            max_batch=service.max_batch,
            timeout_s=service.timeout_s,
            latency_target_s=None if service.latency_target_ms is None else service.latency_target_ms / 1000,
        )
        self.direct = Direct(service, names=self.names, counters=self.counters, logbook=self.logbook, exchange=exchange)
        self.streams = Streams(
            service, names=self.names, counters=self.counters, logbook=self.logbook, exchange=exchange
        )
        self.sharing: Sharing | None = None
        self.cached: Rows | None = None
        if service.cache is not None:
            self.sharing = Sharing(service.cache, self.counters, timeout_s=service.timeout_s)
            self.cached = Rows(
                self.sharing, names=self.names, counters=self.counters, logbook=self.logbook, ask=self._told
            )
        self._watcher = Watcher(loop, store, service, self.counters, self._tend)
        self._watcher.start()

    def close(self) -> None:
        """Stop watching, and close the logs."""
        self._watcher.stop()
        if "tables" in vars(self):
            self.tables.close()
        self._feedback.close()
        self._queue.close()
        self.streams.close()
        if self.sharing is not None:
            self.sharing.memory.clear()
        self.logbook.close()
        self.counters.close()

    def _tend(self) -> None:
        self.logbook.close_if_old()
        self._feedback.tend()
        if self.sharing is not None:
            self.sharing.memory.sweep()

    @cached_property
    def tables(self) -> Tables:
        """What reads tables of rows: loaded when the first one comes."""
        from drivetrain.serving.tables import Tables

        return Tables(self.service)

    async def read_table(self, live: Live, body: bytes, kind: str) -> tuple[list[Row], list[msgspec.Raw] | None]:
        """Return the rows of a table, and their texts where they came as such.

        Raises:
            RequestError: 400, it cannot be read; 413, it is too large; 422, something in it does not fit.
        """
        tables = self.tables
        return await self._loop.run_in_executor(tables.threads, tables.read, live.reader, body, kind)

    async def aside(self, work: Callable[..., T], *given: Any) -> T:
        """Return what some work gives that takes longer than the loop can spare, done in a thread."""
        return await self._loop.run_in_executor(None, work, *given)

    @property
    def answering(self) -> Live | None:
        """The versions that answer; None before the first."""
        return self._watcher.live

    @property
    def is_busy(self) -> bool:
        """Whether requests wait, or are being answered in a thread."""
        return self._queue.is_busy

    @property
    def may_wait(self) -> bool:
        """Whether who asks now may have to wait, so that it is worth knowing whether it still does."""
        live = self._watcher.live
        return self._queue.is_at_work or (live is not None and (live.is_awaited or live.streams))

    @property
    def problem(self) -> str:
        """Why something that should answer does not; empty where all is well."""
        return self._watcher.problem

    @property
    def is_streaming(self) -> bool:
        """Whether what answers does so in pieces."""
        live = self._watcher.live
        return live is not None and live.streams

    def live(self) -> Live:
        """Return the versions that answer.

        Raises:
            RequestError: 503, there are none yet.
        """
        live = self._watcher.live
        if live is None:
            reason = self._watcher.problem or f"{self.service.model} has no champion yet"
            raise RequestError(status=503, message=f"{self.service.name} cannot answer: {reason}")
        return live

    async def ask(
        self,
        live: Live,
        rows: Sequence[Row],
        texts: Sequence[msgspec.Raw] | None = None,
        *,
        within_s: float | None = None,
        patience: Patience = ENDLESS,
        control: Control | None = None,
    ) -> Reply:
        """Return what rows are answered, all or none.

        A row has a value for each column of `live.reader`. `texts` are the rows as JSON objects for the log; where a
        protocol has none, they are written here. How long the client waits is told by `patience`, or as `within_s`;
        whether it takes an answer that is known already, by `control`.

        Raises:
            RequestError: the model failed on the request (500), it would take too long (503) or took too long (504).
        """
        if not rows:
            return Reply([], [], [])
        if within_s is not None:
            patience = Patience(monotonic() + within_s)
        kept = live.reader.texts(rows) if texts is None else live.reader.kept(rows, texts)
        reply = await self._answered(live, rows, kept, "values", patience, control)
        assert isinstance(reply, Reply)
        return reply

    async def ask_text(
        self,
        live: Live,
        rows: Sequence[Row],
        texts: Sequence[msgspec.Raw],
        form: Form,
        patience: Patience = ENDLESS,
        control: Control | None = None,
    ) -> str:
        """Return the same as the JSON text of our own protocol.

        Raises:
            RequestError: see `ask`.
        """
        reply = await self._answered(live, rows, live.reader.kept(rows, texts), form, patience, control)
        assert isinstance(reply, str)
        return reply

    async def _answered(
        self,
        live: Live,
        rows: Sequence[Row],
        texts: Sequence[msgspec.Raw],
        form: Form,
        patience: Patience,
        control: Control | None,
    ) -> str | Reply:
        try:
            if self.cached is None:
                return await self._told(live, rows, texts, form, patience)
            return await self.cached.answer(live, rows, texts, form, patience, control)
        except UnreadableImage as error:
            raise placed(error, live.reader, rows) from None

    async def keep_images(self, live: Live, rows: Sequence[Row]) -> None:
        """Keep the images of requests as artifacts, where the service says so.

        Raises:
            RequestError: one cannot be fetched (422), or the disk does not take them (503).
        """
        if not self.service.keep_images:
            return
        places = [place for place, column in enumerate(live.reader.columns) if column.kind == "image"]
        images = [row[place] for row in rows for place in places if row[place] is not None]
        try:
            await self.aside(lambda: [self.store.artifacts.put(image.data) for image in images])
        except StoreUnavailable as error:
            raise RequestError(status=503, message=f"the images cannot be kept: {error.message}") from error

    async def _told(
        self,
        live: Live,
        rows: Sequence[Row],
        texts: Sequence[msgspec.Raw],
        form: Form,
        patience: Patience,
        names: Sequence[str] = (),
    ) -> str | Reply:
        if self.service.keep_images:
            await self.keep_images(live, rows)
        if live.streams:
            message = "this model answers in pieces: ask it at POST /predict with JSON, or over a WebSocket at /stream"
            raise RequestError(status=422, message=message)
        if live.is_awaited:
            return await self.direct.answer(live, rows, texts, form, patience, names)
        future = self._queue.add(live, rows, texts, form, until=patience.until, names=names)
        # Where it has to wait, it is worth knowing whether the client still does.
        gone = patience.gone() if patience.gone is not None and self._queue.is_at_work else None
        reply = await (future if gone is None else unless_gone(future, gone))
        if isinstance(reply, Failure):
            raise reply.error()
        return reply

    async def keep_labels(self, body: bytes) -> int:
        """Keep labels, and return how many; they survive a power cut when this returns.

        Raises:
            RequestError: a label does not fit (422), or the disk does not take them (503).
        """
        labels = read_labels(body, self.live().champion.version.signature, limit=self.service.max_rows)
        reason = await self._feedback.keep(labels) if labels else ""
        if reason:
            raise RequestError(status=503, message=f"the labels could not be kept, send them again later: {reason}")
        return len(labels)

    async def health(self) -> list[str]:
        """Return what is amiss with the engines and services elsewhere that answer for the service."""
        live = self._watcher.live
        arms = [arm for arm in (live.champion, live.challenger) if arm is not None] if live else []
        engines = [f"{arm.version.id}: {told}" for arm in arms if (told := await arm.health())]
        return engines + await self.exchange.health(self.service)

    def readiness(self) -> dict[str, Any]:
        """Return whether there is a version to answer with, which, and what is amiss."""
        live = self._watcher.live
        told: dict[str, Any] = {"status": "ready" if live else "waiting", "versions": live.versions() if live else {}}
        if live is not None and live.challenger is not None:
            told["canary_share"] = live.want.share
        if self._grpc_port:
            told["grpc_port"] = self._grpc_port
        log_error = self.logbook.error
        log_problem = f"predictions are not logged at the moment: {log_error}" if log_error else ""
        problems = [each for each in (self._watcher.problem, log_problem) if each]
        if live is None and not problems:
            problems = [f"{self.service.model} has no champion yet"]
        arms = [arm for arm in (live.champion, live.challenger) if arm is not None] if live else []
        calls = dict.fromkeys([each.name for each in self.service.calls] + [name for arm in arms for name in arm.calls])
        if calls:
            told["calls"], amiss = self.exchange.standing(calls)
            told["status"], problems = "waiting" if amiss else told["status"], problems + amiss
        notes = [arm.build_note for arm in arms if arm.build_note]
        return told | ({"problems": problems} if problems else {}) | ({"notes": notes} if notes else {})

    async def standing(self) -> dict[str, Any]:
        """Return the same with what has to be asked of others: their state is not known here."""
        told = self.readiness()
        if problems := await self.health():
            told |= {"status": "waiting", "problems": [*told.get("problems", []), *problems]}
        return told

    def totals(self) -> Totals:
        """Return the counters of all workers."""
        return totals(self._folder)

    def metrics(self) -> str:
        """Return the counters of all workers, in the form of Prometheus."""
        live = self._watcher.live
        return exposition(self.totals(), self.service.name, live.versions() if live else {})

    def all_metrics(self) -> str:
        """Return the same with those of the services that are called in this worker."""
        return merged([desk.metrics() for desk in (self, *self.exchange.called(self.service))])

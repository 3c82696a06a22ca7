"""Requests that wait for a version: who is let in, who is next, and how many rows are answered at once."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil, inf
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from drivetrain.serving.batching import Answered, Batch, Failure, Form, Reply, answered, failure_of, lines_of, replies
from drivetrain.training.trace import trace_now

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence

    from drivetrain.serving.counters import Counters
    from drivetrain.serving.curve import Curve
    from drivetrain.serving.journal import Names
    from drivetrain.serving.live import Live
    from drivetrain.serving.logbook import Logbook
    from drivetrain.serving.requests import Row

# What takes longer than this, or may, is answered in a thread, so that the loop goes on to take requests meanwhile.
QUICK_S = 0.002
# The latency that is aimed at where none is asked for; and the shortest that can be held, in times of one row: who
# comes when a batch has just begun waits for it and for its own.
TARGET_S, SHORTEST_ROWS = 0.1, 2.5
# The share of it that waiting and predicting may take; the rest is for the request's way in and out.
AIM = 0.9
# Rows that make a batch hardly longer than one row does are welcome, whatever the target is; and where none is asked
# for, so are those that make it twice as long: of many models these are dozens.
HARDLY_LONGER, TWICE_AS_LONG = 1.25, 2.0

Outcome = tuple[list[Answered], dict[int, Failure]]


class Asked:
    """The rows of a request, until they are answered: `future` then has the reply, or the failure.

    `until` is the moment, by the queue's clock, after which nobody waits for the reply. Whoever no longer does cancels
    the future.
    """

    __slots__ = ("begun", "form", "future", "given", "live", "names", "parts", "rows", "texts", "trace", "until")

    def __init__(
        self,
        live: Live,
        rows: Sequence[Row],
        texts: Sequence[msgspec.Raw],
        form: Form,
        future: asyncio.Future[str | Reply | Failure],
        until: float,
        given: Sequence[str] = (),
    ) -> None:
        # The ids of the rows, where they have them already.
        self.given = given
        self.trace = trace_now()
        self.live, self.rows, self.texts, self.form, self.future, self.until = live, rows, texts, form, future, until
        # How many of the rows have been answered, where they are too many for one batch, and what and as whom.
        self.begun = 0
        self.parts: list[Answered] = []
        self.names: list[str] = []


class Queue:
    """Gathers the rows that the loop has handed over, and answers them in batches that hold a latency.

    A lone request waits for nobody. How long a batch takes is measured all the time (`Curve`). As many rows go together
    as take half of the latency that is aimed at: who comes when a batch has just begun is answered in the next one. A
    batch that takes long works in a thread, and what arrives meanwhile becomes the next one. What could not be answered
    in time is turned away at once; what nobody waits for any more is not begun.

    A request of more rows than a batch is answered in pieces, each in turn with a batch of the small ones.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        logbook: Logbook,
        names: Names,
        counters: Counters,
        max_batch: int,
        timeout_s: float,
        latency_target_s: float | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._loop, self._logbook, self._names, self._counters = loop, logbook, names, counters
        self._max_batch, self._timeout_s, self._target_s, self._clock = max_batch, timeout_s, latency_target_s, clock
        # Within this a request of few rows is answered, or else turned away.
        self._promise_s = AIM * timeout_s
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._small: deque[Asked] = deque()
        self._large: deque[Asked] = deque()
        self._small_rows = self._large_rows = 0
        self._is_large_next = self._is_scheduled = False
        # What is being answered in the thread, since when, and how long that should take.
        self._running: list[Asked] = []
        self._since = self._expected_s = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        # The rows of a batch that holds the latency, and how long it takes, by the curve as it was then.
        self._limit, self._limit_s = max_batch, 0.0
        self._curve: Curve | None = None
        # How many rows the batches of small requests had of late.
        self._usual_rows = 1.0
        self._changes = -1

    @property
    def is_busy(self) -> bool:
        """Whether requests wait, or are being answered in the thread."""
        return bool(self._running or self._small or self._large)

    @property
    def is_at_work(self) -> bool:
        """Whether a batch is being answered in the thread, so that who comes now has to wait."""
        return bool(self._running)

    @property
    def limit(self) -> int:
        """How many rows are answered at once."""
        return self._limit

    def add(
        self,
        live: Live,
        rows: Sequence[Row],
        texts: Sequence[msgspec.Raw],
        form: Form,
        *,
        until: float = inf,
        names: Sequence[str] = (),
    ) -> asyncio.Future[str | Reply | Failure]:
        """Take a request in, and return where its reply will be.

        `until` is when the client stops waiting, by the clock of the queue. `names` are the ids of the rows, where they
        have them already; in one queue then those of all requests do.
        """
        future: asyncio.Future[str | Reply | Failure] = self._loop.create_future()
        now = self._clock()
        asked = Asked(live, rows, texts, form, future, min(until, now + self._timeout_s), names)
        count = len(rows)
        if live.curve is not self._curve:
            self._fit(live.curve)
        is_large = count > self._limit
        if (self._running or self._small_rows + self._large_rows >= self._limit) and not self._is_let_in(
            asked, now, is_large=is_large
        ):
            return future
        if is_large:
            self._large.append(asked)
            self._large_rows += count
        else:
            self._small.append(asked)
            self._small_rows += count
        if self._running:
            self._wake_at(asked.until)
        elif not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)
        return future

    def _is_let_in(self, asked: Asked, now: float, *, is_large: bool) -> bool:
        """Return whether a request can be answered in time, by what is measured; if not, tell it so."""
        assert self._curve is not None
        if self._curve.is_guess:
            return True
        # A small one waits for as many rows of large ones as of small ones, and for the piece that may be next.
        piece = self._limit if self._is_large_next else 0
        between = self._large_rows if is_large else min(self._large_rows, self._small_rows + piece)
        ahead_s = self._ahead_s(now)
        needs_s = ahead_s + self._work_s(self._small_rows + between + len(asked.rows))
        waits_s = asked.until - now
        has_s = waits_s if is_large else min(self._promise_s, waits_s)
        if needs_s <= has_s:
            return True
        message = (
            f"too many requests are waiting: this one would be answered after {needs_s:.3g} s, "
            f"and has {max(has_s, 0.0):.3g} s"
        )
        over_s = ahead_s + (self._small_rows + self._large_rows) / self._limit * self._limit_s
        # Where it is the client that waits for too short a time, coming again later would not help it.
        is_hasty = has_s == waits_s < self._timeout_s * 0.999
        status = 504 if is_hasty else 503
        asked.future.set_result(Failure(status, message, retry_after_s=min(max(1, ceil(over_s)), 60)))
        self._counters.add("turned_away")
        return False

    def _work_s(self, rows: int) -> float:
        """Return how long so many rows take, in batches that others who come meanwhile join."""
        assert self._curve is not None
        whole, rest = divmod(rows, self._limit)
        last_s = self._curve.typical_s(min(max(rest, self._usual_rows), self._limit)) if rest else 0.0
        return whole * self._limit_s + last_s

    def _ahead_s(self, now: float) -> float:
        """Return how long what is being answered will go on."""
        if not self._running:
            return 0.0
        taken_s = now - self._since
        # Once it has taken longer than it should, it is likely to go on for as long again.
        return self._expected_s - taken_s if taken_s < self._expected_s else taken_s

    def _flush(self) -> None:
        """Answer one batch; the loop comes to others before the next."""
        self._is_scheduled = False
        if self._running:
            return
        asked = self._next()
        if asked:
            batch = _batch_of(asked, self._limit)
            batch.names = batch.names or self._names.take(len(batch.rows))
            curve = batch.live.curve
            expected_s = curve.typical_s(len(batch.rows))
            started = self._clock()
            if expected_s > QUICK_S or batch.live.may_wait:
                self._running, self._since, self._expected_s = asked, started, expected_s
                self._wake_at(min(each.until for each in self._all()))
                running = self._loop.run_in_executor(self._pool, _timed, batch, self._max_batch, self._clock)
                running.add_done_callback(partial(self._finished, batch))
                return
            self._learn(batch, asked, answered(batch, self._max_batch), self._clock() - started)
        if (self._small or self._large) and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def _finished(self, batch: Batch, future: asyncio.Future[tuple[Outcome, float]]) -> None:
        asked, self._running = self._running, []
        outcome, taken_s = future.result()
        self._learn(batch, asked, outcome, taken_s)
        self._flush()

    def _learn(self, batch: Batch, asked: list[Asked], outcome: Outcome, taken_s: float) -> None:
        self._counters.add("busy_ns", int(taken_s * 1e9))
        curve = batch.live.curve
        if not outcome[1]:  # what fails takes another time
            curve.add(len(batch.rows), taken_s)
        if curve.changes != self._changes:
            self._fit(curve)
        if len(asked) == 1 and len(asked[0].rows) > len(batch.rows):
            self._take_piece(batch, asked[0], outcome)
        else:
            self._settle(batch, asked, outcome)

    def _fit(self, curve: Curve) -> None:
        """Work out how many rows go together by a curve as it is now."""
        self._curve, self._changes = curve, curve.changes
        one_s = curve.likely_s(1)
        target_s = max(self._target_s or TARGET_S, SHORTEST_ROWS * one_s)
        if self._target_s is not None:
            self._promise_s = AIM * min(target_s, self._timeout_s)
        longer = TWICE_AS_LONG if self._target_s is None else HARDLY_LONGER
        holds = curve.rows_within(max(AIM * target_s / 2, longer * one_s), most=self._max_batch)
        # Who is promised an answer gets it as well where a trial turns out to be slow.
        spare_s = self._promise_s / AIM * (1 - AIM)
        self._limit = curve.worth_trying(holds, most=self._max_batch, risk_s=spare_s)
        self._limit_s = curve.typical_s(self._limit)

    def _next(self) -> list[Asked]:
        """Return the requests whose rows are answered now: small ones together, or a large one for its next rows."""
        large = self._large_next() if self._large else None
        if large is not None and (self._is_large_next or not self._small):
            self._is_large_next = False
            return [large]
        taken: list[Asked] = []
        small, now, rows = self._small, self._clock(), 0
        while small:
            asked = small[0]
            count = len(asked.rows)
            if taken and (rows + count > self._limit or asked.live is not taken[0].live):
                break
            small.popleft()
            self._small_rows -= count
            if asked.future.done():
                continue
            if asked.until <= now:
                self._give_up(asked)
            elif count > self._limit:  # a batch holds fewer rows by now
                self._large.append(asked)
                self._large_rows += count
            else:
                taken.append(asked)
                rows += count
        # Up at once, down slowly: who comes next will not be alone.
        self._usual_rows = max(rows, self._usual_rows + (rows - self._usual_rows) / 4)
        self._is_large_next = bool(self._large)
        large = None if taken else self._large_next()
        return [large] if large is not None else taken

    def _large_next(self) -> Asked | None:
        while self._large:
            asked = self._large[0]
            now, left = self._clock(), len(asked.rows) - asked.begun
            # After its first rows it is known how long the rest takes; half of that is room for a wrong measure.
            is_late = asked.begun and now + left / self._limit * self._limit_s / 2 > asked.until
            if not asked.future.done() and (is_late or asked.until <= now):
                self._give_up(asked)
            if not asked.future.done():
                return asked
            self._large.popleft()
            self._large_rows -= left
        return None

    def _take_piece(self, batch: Batch, asked: Asked, outcome: Outcome) -> None:
        """Keep what the next rows of a large request were answered, and reply when it has all."""
        if asked.future.done():
            return
        parts, failures = outcome
        if failures:
            asked.future.set_result(failures[0])
            return
        for part in parts:
            places = [asked.begun + place for place in part.places]
            asked.parts.append(Answered(part.arm, part.predictor, places, part.answers))
        asked.names += batch.names
        asked.begun += len(batch.rows)
        self._large_rows -= len(batch.rows)
        if asked.begun == len(asked.rows):
            self._large.popleft()
            whole = _batch_of([asked], len(asked.rows), whole=True)
            whole.names = asked.names
            self._settle(whole, [asked], (asked.parts, {}))

    def _settle(self, batch: Batch, asked: list[Asked], outcome: Outcome) -> None:
        """Log what was answered, then let the clients have it."""
        if not [each for each in asked if not each.future.done()]:  # they were told that it took too long, or are gone
            return
        parts, failures = outcome
        told: Sequence[str | Reply | Failure]
        try:
            told = replies(batch, parts, failures)
            logged = lines_of(batch, parts)
        except Exception as error:  # a value of the model's or the features function's that JSON cannot hold
            told = [failure_of(error, asked[0].trace)] * len(asked)
        else:
            rows = len(batch.rows) if not failures else sum([len(part.places) for part in parts])
            self._logbook.write(logged, rows)
            self._counters.add("rows", rows)
            self._counters.add("batches")
            for part in parts:
                if part.arm == "canary":
                    self._counters.add("rows_canary", len(part.places))
        for each, reply in zip(asked, told, strict=True):
            if not each.future.done():
                each.future.set_result(reply)

    def _all(self) -> Iterator[Asked]:
        for group in (self._running, self._small, self._large):
            yield from (asked for asked in group if not asked.future.done())

    def _wake_at(self, moment: float) -> None:
        """See to it that whoever waits in vain is told so then, while the thread is at work."""
        if moment < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = moment
            self._alarm = self._loop.call_later(max(0.0, moment - self._clock()), self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        now = self._clock() + 0.001  # timers may be early by the resolution of the loop
        for asked in [each for each in self._all() if each.until <= now]:
            self._give_up(asked)
        if self._running:
            self._wake_at(min((each.until for each in self._all()), default=inf))

    def _give_up(self, asked: Asked) -> None:
        self._counters.add("expired")
        asked.future.set_result(Failure(504, "the model did not answer in the time that the request has"))

    def close(self) -> None:
        """Let the thread go."""
        self._pool.shutdown(wait=False)


def _batch_of(asked: list[Asked], limit: int, *, whole: bool = False) -> Batch:
    first = asked[0]
    batch = Batch(first.live)
    if not whole and (first.begun or len(first.rows) > limit):
        rows = slice(first.begun, first.begun + limit)
        batch.add(first.rows[rows], first.texts[rows], first.form, first.trace)
        batch.names += first.given[rows]
        return batch
    for each in asked:
        batch.add(each.rows, each.texts, each.form, each.trace)
        batch.names += each.given
    return batch


def _timed(batch: Batch, max_batch: int, clock: Callable[[], float]) -> tuple[Outcome, float]:
    started = clock()
    outcome = answered(batch, max_batch)
    return outcome, clock() - started

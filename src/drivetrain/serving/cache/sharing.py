"""Answers by key: known, awaited where somebody else asks for the same just now, or asked for."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from drivetrain.data.duration import duration
from drivetrain.errors import RequestError
from drivetrain.serving.cache.control import Control
from drivetrain.serving.cache.memory import Memory
from drivetrain.serving.patience import ENDLESS, Patience, patiently

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivetrain.serving.cache.terms import Cache
    from drivetrain.serving.counters import Counters

# Asks for the entries of what stands at some places, for somebody who waits for so long.
Ask: TypeAlias = "Callable[[Sequence[int], Patience], Awaitable[Sequence[bytes]]]"
# What came of asking: the entry, or none, since whoever asked has gone, or since it failed.
Outcome: TypeAlias = "bytes | Literal['gone', 'failed']"
# Statuses of a request whose time was over: they say nothing of the answer.
_GONE = (499, 504)


class Shared(NamedTuple):
    """Entries, and the places of those that had to be asked for."""

    entries: list[bytes]
    asked: list[int]


class Sharing:
    """The answers that a worker keeps, and those that are on their way.

    Of several who ask for the same at once, the first asks the model, and the others wait for its answer, each as long
    as it would have waited for one of its own. When the first goes away, one of the others asks. When it fails, each
    asks for itself: nobody is told of a failure that another one met.
    """

    def __init__(self, terms: Cache, counters: Counters, *, timeout_s: float) -> None:
        self._counters, self._timeout_s = counters, timeout_s
        keep_s = duration(terms.keep).total_seconds()
        self.memory = Memory(keep_s=keep_s, max_bytes=terms.max_bytes, counters=counters)
        self._coming: dict[bytes, asyncio.Future[Outcome]] = {}

    async def find(
        self,
        keys: Sequence[bytes | None],
        ask: Ask,
        patience: Patience = ENDLESS,
        control: Control | None = None,
    ) -> Shared:
        """Return the entries of keys, in their order; what has no key is always asked for.

        Raises:
            RequestError: the time is over (504), or what `ask` raises.
        """
        control = control or Control()
        entries: dict[int, bytes] = {}
        left_s = self._look_up(keys, entries, control)
        known, asked, collapsed = len(entries), [], 0
        missing = [place for place in range(len(keys)) if place not in entries] if known < len(keys) else []
        # Those that are asked for without regard to others.
        alone = set() if control.looks_up else set(missing)
        if missing:
            patience = Patience(min(patience.until, monotonic() + self._timeout_s), patience.gone)
        while missing:
            own, coming = self._divided(keys, missing, alone)
            if own:
                found = await self._asked([(place, keys[place]) for place in own], alone, ask, patience, control)
                entries |= zip(own, found, strict=True)
                asked += own
            missing = []
            for place, future in coming:
                outcome = await self._awaited(future, patience)
                if isinstance(outcome, bytes):
                    entries[place] = outcome
                    collapsed += 1
                    continue
                missing.append(place)
                if outcome == "failed":
                    alone.add(place)
        if asked and control.looks_up:
            self._counters.add("cache_misses", len(asked))
        if collapsed:
            self._counters.add("cache_collapsed", collapsed)
        control.tell(found=known, of=len(keys), is_collapsed=collapsed > 0, left_s=left_s)
        return Shared([entries[place] for place in range(len(keys))], asked)

    def _look_up(self, keys: Sequence[bytes | None], entries: dict[int, bytes], control: Control) -> float:
        """Take in the entries that are known, and return for how long the first of them to go is kept."""
        if not control.looks_up:
            return 0.0
        left_s = inf
        for place, key in enumerate(keys):
            found = None if key is None else self.memory.get(key, max_age_s=control.max_age_s)
            if found is not None:
                entries[place], left_s = found.entry, min(left_s, found.left_s)
        self._counters.add("cache_hits", len(entries))
        return left_s

    def _divided(
        self, keys: Sequence[bytes | None], places: Sequence[int], alone: set[int]
    ) -> tuple[list[int], list[tuple[int, asyncio.Future[Outcome]]]]:
        """Return which places are asked for here, and which are on their way already."""
        own, coming = [], []
        for place in places:
            key = keys[place]
            if key is None or place in alone:
                own.append(place)
            elif (future := self._coming.get(key)) is not None:
                coming.append((place, future))
            else:
                self._coming[key] = asyncio.get_running_loop().create_future()
                own.append(place)
        return own, coming

    async def _asked(
        self, own: list[tuple[int, bytes | None]], alone: set[int], ask: Ask, patience: Patience, control: Control
    ) -> Sequence[bytes]:
        # Where others may wait for the answer.
        futures = {place: self._coming[key] for place, key in own if key is not None and place not in alone}
        ending: Outcome = "failed"
        try:
            found = await ask([place for place, _ in own], patience)
            for (place, key), entry in zip(own, found, strict=True):
                if key is not None and control.stores:
                    self.memory.put(key, entry)
                if place in futures:
                    futures[place].set_result(entry)
            return found
        except BaseException as error:
            is_gone = error.status in _GONE if isinstance(error, RequestError) else not isinstance(error, Exception)
            ending = "gone" if is_gone else "failed"
            raise
        finally:
            for place, key in own:
                if key is not None and place in futures:
                    del self._coming[key]
                    if not futures[place].done():
                        futures[place].set_result(ending)

    async def _awaited(self, future: asyncio.Future[Outcome], patience: Patience) -> Outcome:
        try:
            return await patiently(_of(future), patience)
        except TimeoutError:
            self._counters.add("expired")
            message = "the answer, which another request had asked for, did not come in the time that this one has"
            raise RequestError(status=504, message=message) from None


async def _of(future: asyncio.Future[Outcome]) -> Outcome:
    return await asyncio.shield(future)  # who waits no longer does not end it for the others

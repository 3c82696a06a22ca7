"""The rows of requests, answered by what is known and by what is not: as every protocol hands them in."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from drivetrain.serving.batching import Answered, Batch, Reply, lines_of, replies
from drivetrain.serving.cache.entry import answers_of
from drivetrain.serving.cache.key import Keys
from drivetrain.training.trace import trace_now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import msgspec

    from drivetrain.serving.batching import Form
    from drivetrain.serving.cache.control import Control
    from drivetrain.serving.cache.sharing import Sharing
    from drivetrain.serving.counters import Counters
    from drivetrain.serving.journal import Names
    from drivetrain.serving.live import Arm, Live, Share
    from drivetrain.serving.logbook import Logbook
    from drivetrain.serving.patience import Patience
    from drivetrain.serving.requests import Row


class Rows:
    """Answers rows one by one from what is known, and has the others asked for together.

    Each row has its own id and its arm before anything is looked up; its answer is then sought among that arm's own.
    `ask` answers rows under the ids that they have, as entries; it logs and counts them, and the others are here.
    """

    def __init__(
        self,
        sharing: Sharing,
        *,
        names: Names,
        counters: Counters,
        logbook: Logbook,
        ask: Callable[..., Awaitable[str | Reply]],
    ) -> None:
        self._sharing, self._names, self._counters, self._logbook, self._ask = sharing, names, counters, logbook, ask
        self._keys: WeakKeyDictionary[Live, dict[str, Keys]] = WeakKeyDictionary()

    async def answer(
        self,
        live: Live,
        rows: Sequence[Row],
        texts: Sequence[msgspec.Raw],
        form: Form,
        patience: Patience,
        control: Control | None,
    ) -> str | Reply:
        """Return what a request is told, all or none.

        Raises:
            RequestError: a row that was not known could not be answered.
        """
        names = self._names.take(len(rows))
        shares = live.shares(rows, names, range(len(rows)))
        keys: list[bytes | None] = [None] * len(rows)
        for share in shares:
            made = self.keys(live, share.arm, share.predictor, share.columns)
            for place in share.places:
                keys[place] = made.of(rows[place])

        async def ask(places: Sequence[int], patience: Patience) -> Sequence[bytes]:
            given = [[every[place] for place in places] for every in (rows, texts, names)]
            reply = await self._ask(live, *given[:2], "entries", patience, names=given[2])
            assert isinstance(reply, Reply)
            return reply.entries

        found = await self._sharing.find(keys, ask, patience, control)
        batch = Batch(live)
        batch.add(rows, texts, form, trace_now())
        batch.names = names
        parts = [_answered(share, share.places, found.entries) for share in shares]
        (reply,) = replies(batch, parts, {})
        if len(found.asked) < len(rows):
            others = _others(shares, set(found.asked), found.entries) if found.asked else parts
            self._keep(batch, others)
        assert isinstance(reply, str | Reply)
        return reply

    def keys(self, live: Live, arm: str, predictor: Arm, columns: Sequence[int] | None) -> Keys:
        """Return what makes the keys of an arm."""
        known = self._keys.get(live)
        if known is None:
            known = self._keys[live] = {}
        if arm not in known:
            known[arm] = Keys(predictor.version, predictor.reader, live.want.side, columns)
        return known[arm]

    def _keep(self, batch: Batch, parts: list[Answered]) -> None:
        """Log and count rows whose answers were known."""
        rows = sum([len(part.places) for part in parts])
        self._logbook.write(lines_of(batch, parts), rows)
        self._counters.add("rows", rows)
        for part in parts:
            if part.arm == "canary":
                self._counters.add("rows_canary", len(part.places))


def _answered(share: Share, places: Sequence[int], entries: Sequence[bytes]) -> Answered:
    version = share.predictor.version
    features = [column.name for column in version.signature.features] if version.features else ()
    return Answered(share.arm, share.predictor, places, answers_of([entries[place] for place in places], features))


def _others(shares: Sequence[Share], asked: set[int], entries: Sequence[bytes]) -> list[Answered]:
    """Return what was answered to the rows that nobody was asked for here."""
    places = [(share, [place for place in share.places if place not in asked]) for share in shares]
    return [_answered(share, known, entries) for share, known in places if known]

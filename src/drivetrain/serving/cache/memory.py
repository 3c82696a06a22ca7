"""The answers that a worker has in memory: bounded in bytes and in time."""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivetrain.serving.counters import Counters

# What an entry takes beside the bytes of its key and answer: their objects, the moment, the tuple, its place in the
# table. Measured, and held to by a test.
OVERHEAD_BYTES = 264
# So many entries whose time is over are let go at once, so that nobody waits for it.
SWEPT_AT_ONCE = 1000


class Found(NamedTuple):
    """An answer, and for how many seconds it is still kept."""

    entry: bytes
    left_s: float


class Memory:
    """Entries by key. Each is kept for `keep_s`; when there is no room, those unused for the longest go first.

    >>> from drivetrain.serving.cache.memory import Memory
    >>> memory = Memory(keep_s=60, max_bytes=1 << 20)
    >>> memory.put(b"key", b"entry")
    >>> memory.get(b"key").entry, memory.get(b"other")
    (b'entry', None)
    """

    def __init__(
        self,
        *,
        keep_s: float,
        max_bytes: int,
        counters: Counters | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._keep_s, self._max_bytes, self._counters, self._clock = keep_s, max_bytes, counters, clock
        # The moment at which it goes, and the entry, by key: what was used last stands last.
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, *, max_age_s: float = inf) -> Found | None:
        """Return the entry of a key; None where there is none, or only one that is older than `max_age_s`."""
        found = self._entries.get(key)
        if found is None:
            return None
        until, entry = found
        left_s = until - self._clock()
        if left_s <= 0:
            self._drop(key)
            self._tell()
            return None
        if self._keep_s - left_s > max_age_s:
            return None
        self._entries.move_to_end(key)
        return Found(entry, left_s)

    def put(self, key: bytes, entry: bytes) -> None:
        """Keep an entry, unless it alone is larger than all that may be kept."""
        if key in self._entries:
            self._drop(key)
        size = _size(key, entry)
        if size <= self._max_bytes:
            self._entries[key] = (self._clock() + self._keep_s, entry)
            self.size_bytes += size
            while self.size_bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))
                if self._counters is not None:
                    self._counters.add("cache_evictions")
        self._tell()

    def sweep(self) -> None:
        """Let go of entries whose time is over.

        Those that were not used for the longest are looked at; what stands behind one that is still kept has been used
        since, and goes once that one does.
        """
        now, entries, before = self._clock(), self._entries, len(self._entries)
        for _ in range(min(SWEPT_AT_ONCE, before)):
            key = next(iter(entries))
            if entries[key][0] > now:
                break
            self._drop(key)
        if len(entries) < before:
            self._tell()

    def clear(self) -> None:
        """Let go of all entries."""
        self._entries.clear()
        self.size_bytes = 0
        self._tell()

    def _drop(self, key: bytes) -> None:
        self.size_bytes -= _size(key, self._entries.pop(key)[1])

    def _tell(self) -> None:
        if self._counters is not None:
            self._counters.set("cache_entries", len(self._entries))
            self._counters.set("cache_bytes", self.size_bytes)


def _size(key: bytes, entry: bytes) -> int:
    return len(key) + len(entry) + OVERHEAD_BYTES

"""A trace: how long one request was in each of its stages, without a gap between them."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Stage = Literal[
    "way in", "admission", "body", "decoding", "waiting", "table", "features", "model", "answer", "log", "counters",
    "turn", "rest", "way out",
]  # fmt: skip
STAGES: tuple[Stage, ...] = get_args(Stage)
"""The stages in the order in which a request comes to them."""


class Trace:
    """The stages of a request, or of a batch: at each moment it is in exactly one, so that they sum to the whole.

    Moments are seconds by `time.perf_counter`.

    >>> trace = Trace(10.0, "admission")
    >>> trace.enter("body", 10.5)
    'admission'
    >>> trace.end(12.0)
    >>> trace.spent
    {'admission': 0.5, 'body': 1.5}
    """

    __slots__ = ("_since", "began", "ended", "rows", "spent", "stage")  # fmt: skip

    def __init__(self, began: float, stage: Stage, *, rows: int = 1) -> None:
        self.began = self._since = self.ended = began
        self.stage, self.rows = stage, rows
        self.spent: dict[Stage, float] = {}

    def enter(self, stage: Stage, now: float) -> Stage:
        """Go to a stage, and return the one that was left."""
        left = self.stage
        self.spent[left] = self.spent.get(left, 0.0) + now - self._since
        self.stage, self._since = stage, now
        return left

    def end(self, now: float) -> None:
        """Leave the last stage."""
        self.enter(self.stage, now)
        self.ended = now

    def joined(self, batch: Trace, now: float) -> None:
        """Take over the stages of the batch that has answered it since it came to the stage in which it is.

        >>> batch = Trace(11.0, "model", rows=8)
        >>> batch.end(13.0)
        >>> trace = Trace(10.0, "waiting")
        >>> trace.joined(batch, 13.5)
        >>> trace.spent, trace.stage
        ({'waiting': 1.0, 'model': 2.0, 'turn': 0.5}, 'answer')
        """
        self.enter("turn", batch.began)
        for stage, seconds in batch.spent.items():
            self.spent[stage] = self.spent.get(stage, 0.0) + seconds
        self._since, self.rows = batch.ended, batch.rows
        self.enter("answer", now)


class Traced(msgspec.Struct, frozen=True, array_like=True):
    """A request as a worker has seen it, by the id of its prediction; `rows` is how many its batch had."""

    id: str
    began: float
    ended: float
    rows: int
    spent: dict[Stage, float]


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has seen: its requests, seconds of processor by moments, and how long batches took by rows."""

    build: str
    is_awaited: bool
    requests: list[Traced]
    processor: list[tuple[float, float]]
    curve: dict[int, float]

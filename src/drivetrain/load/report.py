"""What a load test has seen."""

from __future__ import annotations

import msgspec

QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99, "p999_ms": 0.999}
FIGURES = ("requests_per_s", "error_share", "mean_ms", *QUANTILES, "max_ms")
"""The names of the figures that conditions may ask for."""

# A sender that is later than this, and than a tenth of the usual answer, spoils the figures.
LATE_MS = 1.0
BUSY_SHARE = 0.9


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen in one stretch of a test.

    `answered` and `failed` count by when an answer came; all else by when a request was due. `missed` were not answered
    well within the plan's limit.
    """

    at_s: float
    answered: int = 0
    failed: int = 0
    asked: int = 0
    missed: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of a histogram."""

    from_ms: float
    to_ms: float
    count: int


class Report(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What was seen, in milliseconds and counts, and how far the load tool itself may have been the limit.

    Times are of requests that were answered well, and of those that were given up, which count with as long as they
    had waited. `outcomes` has how many ended how: `200`, `503`, `timeout`, `refused`, `closed`, `reset`, `malformed`;
    `examples` how the first refusal of a kind began.

    >>> report = Report(seconds=1, requests=4, answered=3, failed=1, requests_per_s=3.0)
    >>> report.error_share, report.figures()["p99_ms"]
    (0.25, 0.0)
    """

    seconds: float
    requests: int
    answered: int
    failed: int
    requests_per_s: float
    outcomes: dict[str, int] = {}
    examples: dict[str, str] = {}
    mean_ms: float = 0.0
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0
    bars: list[Bar] = []
    slices: list[Slice] = []
    connections_opened: int = 0
    received_bytes: int = 0
    # How long after it was due the tool came to sending a request, and the share of a processor that it took.
    late_p99_ms: float = 0.0
    late_max_ms: float = 0.0
    processor_share: float = 0.0
    is_interrupted: bool = False

    @property
    def error_share(self) -> float:
        """The share of requests that were not answered well."""
        return self.failed / self.requests if self.requests else 0.0

    def figures(self) -> dict[str, float]:
        """Return the figures that a gate can ask for."""
        return {name: float(getattr(self, name)) for name in FIGURES}

    def doubts(self) -> list[str]:
        """Return why the figures may be the load tool's own rather than the server's."""
        found = []
        if self.late_p99_ms > max(LATE_MS, 0.1 * self.p50_ms):
            found.append(
                f"the load tool itself was late by {self.late_p99_ms:.1f} ms (p99), {self.late_max_ms:.1f} ms at most: "
                "its machine is busy, and the times may be that much too long"
            )
        if self.processor_share > BUSY_SHARE:
            found.append(
                f"the load tool took {self.processor_share:.0%} of a processor: it may be the limit, not the server"
            )
        return found


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far a test has come; `p99_ms` is of the last slice."""

    elapsed_s: float
    requests: int
    failed: int
    requests_per_s: float
    p99_ms: float


class Unreachable(msgspec.Struct, frozen=True, tag=True):
    """Nothing could be connected to."""

    reason: str


Message = Progress | Report | Unreachable

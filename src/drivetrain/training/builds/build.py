"""A fast build of a model, and the evidence by which it may answer in the original's place."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from drivetrain.store.artifact import Artifact

MANY = 64
"""So many rows are timed at once, beside a single one: what a busy server answers together."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long one row takes, and how long `MANY` at once."""

    one_row_s: float
    many_rows_s: float

    def times(self, other: Pace) -> float:
        """Return how many times as fast this is as another, one row and many counting alike.

        >>> Pace(one_row_s=0.001, many_rows_s=0.002).times(Pace(one_row_s=0.1, many_rows_s=0.002))
        10.0
        """
        return sqrt(other.one_row_s * other.many_rows_s / (self.one_row_s * self.many_rows_s))


class Build(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fast build, and how its answers compare with the original's.

    `rows` are real rows, and `made_up_rows` such with a missing value, an unseen category or a neighbouring number;
    `differing_rows` and `largest_difference` are of both. `digest` is that of its file, and empty where it may not
    answer: `reason` then says why.
    """

    form: str
    digest: str = ""
    rows: int = 0
    made_up_rows: int = 0
    differing_rows: int = 0
    largest_difference: float = 0.0
    pace: Pace | None = None
    reason: str = ""

    @property
    def evidence(self) -> str:
        """What the comparison found, in words.

        >>> Build(form="onnx", rows=20_000).evidence
        '0 of 20,000 rows differ, so (95 % sure) fewer than 0.015 % of all do'
        >>> Build(form="onnx", rows=5_000, differing_rows=12, largest_difference=0.25).evidence
        '12 of 5,000 rows differ by up to 0.25'
        """
        compared = self.rows + self.made_up_rows
        if self.differing_rows:
            return f"{self.differing_rows:,} of {compared:,} rows differ by up to {self.largest_difference:.2g}"
        if not compared:
            return self.reason or "no row was compared"
        # The rule of three: were the true share 3/n, n rows would show none with a probability of e⁻³, 5 %.
        bound = f", so (95 % sure) fewer than {300 / self.rows:.2g} % of all do" if self.rows > MANY else ""
        return f"0 of {compared:,} rows differ{bound}"


class Builds(msgspec.Struct, frozen=True, kw_only=True):
    """The fast builds that were tried for a model, and the pace of the original; None where it was not measured."""

    original: Pace | None = None
    tried: list[Build] = []

    def ranked(self) -> list[Build]:
        """Return the builds that may answer, the fastest first."""
        fit = [each for each in self.tried if each.digest and not each.differing_rows]
        return sorted(fit, key=lambda each: each.pace.one_row_s * each.pace.many_rows_s if each.pace else 0.0)

    @property
    def why(self) -> str:
        """Why the build that answers does, or none."""
        if not (fit := self.ranked()):
            return "; ".join(f"{each.form}: {each.reason or each.evidence}" for each in self.tried)
        if self.original is None or fit[0].pace is None:
            return fit[0].evidence
        return f"{fit[0].evidence}; {fit[0].pace.times(self.original):.2g} times as fast as the original"


def builds_of(artifact: Artifact) -> Builds | None:
    """Return the builds that were tried for a version's artifact; None where none was."""
    if found := artifact.detail.get("builds"):
        return msgspec.convert(found, Builds)
    # What a version says that was registered before builds were timed: there is only one.
    if (only := artifact.detail.get("fast")) is None:
        return None
    known = {name: only[name] for name in ("digest", "rows", "differing_rows", "largest_difference", "reason")
             if name in only}  # fmt: skip
    return Builds(tried=[Build(form="onnx", **known)])

"""What a gate would say to figures, without a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import UsageError
from drivetrain.registry.gate import Gate
from drivetrain.registry.version import Judgement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.system.part import Part


class Ruling(msgspec.Struct, frozen=True):
    """How the conditions of a gate come out; it is true when all of them hold."""

    judgements: list[Judgement]

    def __bool__(self) -> bool:
        return all(judgement.holds for judgement in self.judgements)

    @property
    def broken(self) -> list[str]:
        """The conditions that do not hold, as they are written."""
        return [judgement.condition for judgement in self.judgements if not judgement.holds]

    def __repr__(self) -> str:
        told = [
            f"{judgement.condition} {'holds' if judgement.holds else 'does not hold'}: {judgement.found}"
            + (f" ({judgement.note})" if judgement.note else "")
            for judgement in self.judgements
        ]
        return f"<{'passed' if self else 'refused'}: {'; '.join(told) or 'it asks for nothing'}>"


def decide(gate: Part, metrics: Mapping[str, float], *, champion: Mapping[str, float] | None = None) -> Ruling:
    """Return what a gate says to metrics by full name, such as `{"quality.auc": 0.7}`.

    `champion` are those of the champion on the same rows; without them there is none yet.

    Raises:
        UsageError: the part is no gate.
    """
    if not isinstance(gate, Gate):
        raise UsageError(f"{gate.name!r} is a {gate.ROLE}, and only a gate decides", remedy="give it a `dt.Gate`")
    name = "" if champion is None else "the champion"
    return Ruling(gate.judged(metrics, champion or {}, champion=name))

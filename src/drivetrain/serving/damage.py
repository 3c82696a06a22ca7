"""What a damage of the store means: which step runs again, which version or which predictions it affects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import DrivetrainError
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.registry.version import Version
from drivetrain.security.event import Event, broken_link
from drivetrain.serving.log import Segment
from drivetrain.store.fsck import Damage, Examination, Mention, examine

if TYPE_CHECKING:
    from drivetrain.store.fsck import Progress
    from drivetrain.store.store import Store

_REPAIR = "`drivetrain store fsck --repair` sets it aside"
_BACKUP = "`drivetrain store import BACKUP` puts it back"
_SHOWN = 3


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A damage, what it affects, and what to do about it."""

    damage: Damage
    affects: list[str]
    remedy: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the store; it is sound where there are no findings."""

    examination: Examination
    findings: list[Finding]


def diagnose(store: Store, *, progress: Progress = lambda done, total: None) -> Diagnosis:
    """Check the whole store, the chain of events with it, and say what each damage means."""
    found = examine(store, progress=progress)
    damages = [*found.damages, *_chain(store, found.damages)]
    return Diagnosis(
        examination=found,
        findings=[Finding(damage=damage, affects=_affects(damage.rows), remedy=_remedy(damage)) for damage in damages],
    )


def _chain(store: Store, others: list[Damage]) -> list[Damage]:
    if any(mention.table == Event.TABLE for damage in others for mention in damage.rows):
        return []  # the damaged event is named already
    try:
        broken = broken_link(store.ledger.find(Event, order="number"))
    except DrivetrainError:
        return []  # as the ledger cannot be read, which is named already
    if broken is None:
        return []
    found = f"event {broken.number} was changed, or the one before it is gone"
    return [Damage(kind="chain broken", what="the chain of events", found=found)]


def _affects(mentions: list[Mention]) -> list[str]:
    """Return what needs the damaged thing, in the user's words; of many rows the newest of each kind."""
    spoken: dict[str, None] = {}
    for mention in reversed(mentions):
        key = mention.key
        if mention.table == StepRun.TABLE:
            spoken[f"step {key['step']}"] = None
        elif mention.table == Version.TABLE:
            spoken[f"version {key['id']}"] = None
        elif mention.table == Segment.TABLE:
            spoken[f"predictions of {key['service']}"] = None
        elif mention.table == Run.TABLE:
            spoken[f"run {key['id']}"] = None
        else:
            spoken[str(mention)] = None
    return list(spoken)


def _remedy(damage: Damage) -> str:
    if damage.kind == "ledger unreadable":
        return f"stop everything, put the file aside, and put back a backup: {_BACKUP}"
    if damage.kind == "chain broken":
        return "somebody changed the record of what happened: compare it with a backup"
    tables = {mention.table for mention in damage.rows}
    steps = [
        f"the step {mention.key['step']}"
        for mention in damage.rows
        if mention.table == StepRun.TABLE and (not mention.columns or "outputs" in mention.columns)
    ]
    if tables & {Version.TABLE, Segment.TABLE}:
        what = "the version cannot answer" if Version.TABLE in tables else "those predictions cannot be read"
        again = " or the next run, where it gives the same bytes again," if steps else ""
        return f"{_BACKUP};{again} until then {what}"
    if damage.kind == "artifact missing":
        return f"the next run makes it anew: {_some(steps)}" if steps else _BACKUP
    if damage.kind == "artifact changed" and not damage.rows:
        return f"nothing needs it: {_REPAIR}"
    if steps:
        return f"{_REPAIR}, and the next run does {_some(steps)} again"
    return f"{_BACKUP}, or {_REPAIR}"


def _some(names: list[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:_SHOWN]) + (f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else "")

"""What a damage of the store means: which step runs again, which version or which predictions it affects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import DrivetrainError
from drivetrain.pipeline import curve
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.registry.version import Version
from drivetrain.security.event import Event, broken_link
from drivetrain.serving.log import Segment
from drivetrain.store.fsck import Damage, Examination, Mention, examine
from drivetrain.store.rows import counts

if TYPE_CHECKING:
    from drivetrain.store.fsck import Progress
    from drivetrain.store.store import Store

_REPAIR = "`drivetrain store fsck --repair` sets it aside"
_BACKUP = "`drivetrain store import BACKUP` puts it back"
_SHOWN = 3


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A damage, what it affects, and what to do about it; `afterwards` is what to do once it is set aside."""

    damage: Damage
    affects: list[str]
    remedy: str
    afterwards: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the store; it is sound where there are no findings."""

    examination: Examination
    # The points of all curves.
    points: int
    findings: list[Finding]


def diagnose(store: Store, *, progress: Progress = lambda done, total: None) -> Diagnosis:
    """Check the whole store, the chain of events with it, and say what each damage means."""
    found = examine(store, progress=progress)
    damages = [*found.damages, *_curves(store), *_chain(store, found.damages)]
    return Diagnosis(
        examination=found,
        points=counts(store.ledger).get(curve.TABLE, 0) if not _is_unreadable(found.damages) else 0,
        findings=[
            Finding(
                damage=damage, affects=_affects(damage.rows), remedy=_remedy(damage), afterwards=_afterwards(damage)
            )
            for damage in damages
        ],
    )


def _is_unreadable(damages: list[Damage]) -> bool:
    return any(damage.kind == "ledger unreadable" for damage in damages)


def _curves(store: Store) -> list[Damage]:
    try:
        found = curve.damaged(store.ledger)
    except DrivetrainError:
        return []  # as the ledger cannot be read, which is named already
    return [
        Damage(
            kind="curve changed",
            what=f"curve {number}",
            found="its points are not what its checksum says",
            rows=[Mention(Figure.TABLE, dict(zip(Figure.KEY, key, strict=True))) for key in keys],
        )
        for number, keys in found.items()
    ]


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
        elif mention.table == Figure.TABLE:
            spoken[f"{key['kind']} {key['name']} of {key['run']}"] = None
        else:
            spoken[str(mention)] = None
    return list(spoken)


def _remedy(damage: Damage) -> str:
    if damage.kind == "ledger unreadable":
        return f"stop everything, put the file aside, and put back a backup: {_BACKUP}"
    if damage.kind == "chain broken":
        return "somebody changed the record of what happened: compare it with a backup"
    if damage.kind == "curve changed":
        return f"{_BACKUP}; {_REPAIR}, and the last, least and greatest value stay"
    tables, steps = {mention.table for mention in damage.rows}, _steps(damage)
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


def _afterwards(damage: Damage) -> str:
    """Return what is to be done once a damage is set aside."""
    tables, steps = {mention.table for mention in damage.rows}, _steps(damage)
    if damage.kind == "curve changed":
        return f"the last, least and greatest value stay; {_BACKUP}, and so does the step, run with --force"
    if damage.kind == "artifact changed" and not damage.rows:
        return ""
    if Event.TABLE in tables:
        return f"{_BACKUP}; until then the chain of events has a gap, which fsck goes on naming"
    if steps and not tables & {Version.TABLE, Segment.TABLE}:
        return f"the next run does {_some(steps)} again"
    if Run.TABLE in tables and damage.kind == "row changed":
        return f"{_BACKUP}; until then the run is not listed, and what its steps gave is still used"
    return f"{_BACKUP}; until then what needs it goes without"


def _steps(damage: Damage) -> list[str]:
    return [
        f"the step {mention.key['step']}"
        for mention in damage.rows
        if mention.table == StepRun.TABLE and (not mention.columns or "outputs" in mention.columns)
    ]


def _some(names: list[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:_SHOWN]) + (f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else "")

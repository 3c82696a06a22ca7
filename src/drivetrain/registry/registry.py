"""The registry: which versions there are, which one an alias points to, and which it pointed to when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.errors import NotFound, Refused
from drivetrain.registry.version import AliasChange, Version
from drivetrain.security.event import record_event
from drivetrain.store.record import new_id, now

if TYPE_CHECKING:
    from datetime import datetime

    from drivetrain.store.ledger import Ledger

CHAMPION = "champion"


def version(ledger: Ledger, name: str) -> Version:
    """Return a version by its id (`lateness@3`), or by model and alias (`lateness@champion`).

    Raises:
        NotFound: there is none.
    """
    model, _, which = name.partition("@")
    found = ledger.get(Version, name)
    if found is None and which and not which.isdigit():
        found = pointed_at(ledger, model, which)
    if found is None:
        raise NotFound(
            kind="version", name=name, known=[known.id for known in ledger.find(Version, order="-created_at")]
        )
    return found


def versions(ledger: Ledger, model: str = "") -> list[Version]:
    """Return the versions of a model, or of all, the newest first."""
    return ledger.find(Version, {"model": model} if model else None, order="-created_at")


def pointed_at(ledger: Ledger, model: str, alias: str, at: datetime | None = None) -> Version | None:
    """Return the version that an alias points to, or pointed to at a moment; None when to none."""
    where = {"model": model, "alias": alias} | ({"at <=": at} if at else {})
    found = ledger.find(AliasChange, where, order="-at", limit=1)
    return ledger.get(Version, found[0].version) if found else None


def champion_of(ledger: Ledger, model: str, at: datetime | None = None) -> Version | None:
    """Return the version that answers for a model, or that answered at a moment."""
    return pointed_at(ledger, model, CHAMPION, at)


def point_alias(
    ledger: Ledger,
    model: str,
    alias: str,
    target: str,
    *,
    reason: str,
    actor: str = "drivetrain",
    kind: str = "version.promoted",
    evidence: dict[str, float] | None = None,
    happened_at: datetime | None = None,
) -> AliasChange:
    """Point an alias at a version, and record who did so and why."""
    with ledger.transaction():
        chosen = version(ledger, target)
        if chosen.model != model:
            raise Refused(f"{target} is not a version of {model}", remedy=f"`drivetrain models {model}` lists them")
        before = pointed_at(ledger, model, alias)
        change = AliasChange(
            id=new_id("alias"),
            model=model,
            alias=alias,
            version=chosen.id,
            previous=before.id if before else "",
            at=now(),
            reason=reason,
            actor=actor,
        )
        ledger.write(change)
        record_event(
            ledger,
            kind,
            subject=chosen.id,
            message=f"{chosen.id} is {alias} now" + (f", after {before.id}" if before else "") + f": {reason}",
            actor=actor,
            evidence=evidence,
            happened_at=happened_at,
        )
    return change


def roll_back(ledger: Ledger, model: str, *, reason: str, actor: str) -> AliasChange:
    """Point the champion back at the version before, and record who did so and why.

    Raises:
        Refused: there was none before.
    """
    with ledger.transaction():
        # Walked in order, a rollback takes the newest champion off again: what is left below it was champion before.
        line: list[str] = []
        for change in ledger.find(AliasChange, {"model": model, "alias": CHAMPION}, order="at"):
            if change.version in line:
                del line[line.index(change.version) :]
            line.append(change.version)
        if len(line) < 2:
            raise Refused(
                f"{model} has no earlier champion to go back to", remedy=f"`drivetrain promote {model}@N` points to any"
            )
        return point_alias(ledger, model, CHAMPION, line[-2], reason=reason, actor=actor, kind="version.rolled_back")

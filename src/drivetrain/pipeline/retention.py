"""Which runs are kept: what needs a run, runs that are pinned, and the deletion of the others."""

from __future__ import annotations

from datetime import datetime, timedelta
from shutil import rmtree
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from drivetrain.errors import CorruptLedger, NotFound, Refused
from drivetrain.pipeline.approval import Request
from drivetrain.pipeline.attempt import logs_of
from drivetrain.pipeline.curve import curves_of, forget
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.pipeline.runner import mark_interrupted
from drivetrain.security.event import Event, record_event
from drivetrain.store.record import Record, now
from drivetrain.store.rows import rows, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.store.rows import Row
    from drivetrain.store.store import Store


# These tell what happened, also in what is gone: an event, a person's word, and what a gate decided with its figures.
_HISTORY = (Event.TABLE, Request.TABLE, "decision")


class Pin(Record, frozen=True, kw_only=True):
    """A run is kept, whatever else happens, until the pin is taken out."""

    TABLE: ClassVar[str] = "pin"
    KEY: ClassVar[tuple[str, ...]] = ("run",)

    run: str
    reason: str
    actor: str
    at: datetime


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run has to stay; `by_run` is the run that needs it, empty where something else does."""

    why: str
    by_run: str = ""


def needs(store: Store) -> dict[str, list[Need]]:
    """Return what needs each run that something needs: a version, a later cached step, a pin, …

    A row belongs to the run that is a part of its key. Any other row that names the run needs it, of whatever noun it
    is; only events and the decisions of gates do not.

    Raises:
        CorruptLedger: a row is damaged, so that it cannot be said what it needs.
    """
    known = {run.id for run in store.ledger.find(Run)}
    found: dict[str, list[Need]] = {}
    for row in rows(store.ledger):
        if not row.is_whole:
            key = [str(row.values[name]) for name in row.key]
            raise CorruptLedger(table=row.table, key=key, path=str(store.ledger.path))
        if row.table in _HISTORY:
            continue
        owner = str(row.values["id"]) if row.table == Run.TABLE else row.owner()
        if row.table == Pin.TABLE:
            found.setdefault(owner, []).append(Need(why=f"it is pinned: {row.values['reason']}"))
            continue
        for run in (row.texts() & known) - {owner}:
            found.setdefault(run, []).append(Need(why=_spoken(row, owner), by_run=owner))
    return found


def delete_runs(store: Store, *names: str, actor: str, reason: str) -> list[Run]:
    """Delete runs with their steps, metrics and logs, and the curves that no other run has.

    Their artifacts stay until they are collected as garbage.

    Raises:
        NotFound: there is no such run.
        Refused: something that stays needs one of them.
        StoreUnavailable: a run is going on.
    """
    with store.alone():
        mark_interrupted(store.ledger)
        runs = [_run(store, name) for name in names]
        needed = needs(store)
        for run in runs:
            if run.state == "running":
                raise Refused(f"{run.id} is running", remedy="stop it, or wait until it has ended")
            reasons = [need.why for need in needed.get(run.id, []) if need.by_run not in names]
            if reasons:
                raise Refused(
                    f"{run.id} is needed: {_listed(reasons)}", remedy="delete or unpin what needs it, or let it be"
                )
        _delete(store, runs, actor=actor, reason=reason)
    return runs


def expendable(store: Store, *, keep: int, older_than: timedelta) -> list[Run]:
    """Return the runs that nothing needs, the newest first: not the `keep` newest of each system, and only old ones."""
    needed = needs(store)
    chosen: dict[str, Run] = {}
    newer: dict[str, int] = {}
    # A run can be needed by newer ones only: going back from the newest, it is known which of those stay.
    for run in store.ledger.find(Run, order="-started_at"):
        newer[run.system] = newer.get(run.system, 0) + 1
        is_old = newer[run.system] > keep and run.started_at <= now() - older_than and run.state != "running"
        if is_old and all(need.by_run in chosen for need in needed.get(run.id, [])):
            chosen[run.id] = run
    return list(chosen.values())


def delete_expendable(store: Store, *, keep: int, older_than: timedelta, actor: str) -> list[Run]:
    """Delete the runs that `expendable` gives; the store must be held alone."""
    mark_interrupted(store.ledger)
    runs = expendable(store, keep=keep, older_than=older_than)
    _delete(store, runs, actor=actor, reason=f"not among the {keep} newest")
    return runs


def pin(store: Store, name: str, *, reason: str, actor: str) -> Pin:
    """Keep a run whatever else happens.

    Raises:
        NotFound: there is no such run.
    """
    run = _run(store, name)
    made = Pin(run=run.id, reason=reason, actor=actor, at=now())
    with store.ledger.transaction():
        store.ledger.write(made)
        record_event(store.ledger, "run.pinned", subject=run.id, message=f"A run is kept: {reason}", actor=actor)
    return made


def unpin(store: Store, name: str, *, actor: str) -> Pin:
    """Take the pin out of a run, and return what it was.

    Raises:
        NotFound: it has none.
    """
    with store.ledger.transaction():
        found = store.ledger.get(Pin, name)
        if found is None:
            raise NotFound(kind="pinned run", name=name, known=[each.run for each in store.ledger.find(Pin)])
        store.ledger.delete(Pin, name)
        record_event(store.ledger, "run.unpinned", subject=name, message="A run is no longer pinned", actor=actor)
    return found


def _run(store: Store, name: str) -> Run:
    found = store.ledger.get(Run, name)
    if found is None:
        raise NotFound(kind="run", name=name, known=[run.id for run in store.ledger.find(Run, order="-started_at")])
    return found


def _delete(store: Store, runs: Sequence[Run], *, actor: str, reason: str) -> None:
    owning = [name for name, key in tables(store.ledger).items() if "run" in key]
    names = {run.id for run in runs}
    with store.ledger.transaction():
        drawn = [curve for curve, keys in curves_of(store.ledger).items() if names & {name for name, *_ in keys}]
        for run in runs:
            store.ledger.delete(Run, run.id)
            for table in owning:  # steps, metrics, and whatever else belongs to runs
                store.ledger.query(f'DELETE FROM "{table}" WHERE "run" = ?', run.id)  # noqa: S608  # from the database
            record_event(
                store.ledger,
                "run.deleted",
                subject=run.id,
                message=f"A run of {run.started_at:%Y-%m-%d %H:%M} was deleted: {reason}",
                actor=actor,
            )
        forget(store.ledger, drawn)
    for run in runs:  # what a kill leaves of them is found by gc
        rmtree(logs_of(store.root, run.id), ignore_errors=True)


def _spoken(row: Row, owner: str) -> str:
    values: dict[str, Any] = row.values
    if row.table == StepRun.TABLE:
        return f"the step {values['step']} of {owner} took its outcome from it"
    return str(row)


def _listed(reasons: Sequence[str]) -> str:
    shown = "; ".join(reasons[:4])
    return shown + (f"; and {len(reasons) - 4} more" if len(reasons) > 4 else "")

"""Runs move between stores, and a whole store into a backup and out of it again."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import CorruptLedger, DrivetrainError, NotFound, Refused, StoreUnavailable
from drivetrain.experiments.remark import Note, Tag
from drivetrain.load.measurement import Measurement
from drivetrain.monitoring.carrying import Curves, bring_logs, files_of
from drivetrain.monitoring.window import Alert, Signal, Window
from drivetrain.pipeline.approval import Request
from drivetrain.pipeline.attachment import Attachment
from drivetrain.pipeline.curve import TABLE as POINTS
from drivetrain.pipeline.curve import make_table
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.retention import Pin
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.pipeline.runner import Runner
from drivetrain.pipeline.source import Source
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import AliasChange, Decision, Version
from drivetrain.security.event import Event, broken_link, record_event
from drivetrain.serving.batch.job import BatchJob, BatchPart
from drivetrain.serving.jobs.job import Job, JobTotals, JobWorker
from drivetrain.serving.log import Segment
from drivetrain.serving.sealing import seal
from drivetrain.serving.streams.state import StreamState
from drivetrain.store.archive import opened, write_archive
from drivetrain.store.fingerprints import digest_of_file
from drivetrain.store.rows import Row, rows, tables
from drivetrain.store.sqlite import SQLiteLedger
from drivetrain.store.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from drivetrain.store.archive import Archive, Manifest
    from drivetrain.store.record import Record
    from drivetrain.store.store import Store

KINDS: tuple[type[Record], ...] = (
    Run, Runner, StepRun, Figure, Attachment, Tag, Note, Source, Request, Pin, Version, AliasChange, Decision, Rollout,
    Segment, BatchJob, BatchPart, Event, Window, Alert, Signal, Measurement, Job, JobWorker, JobTotals, StreamState,
)  # fmt: skip
"""Every noun of the ledger. What another store sends must be one of these."""

_BY_TABLE = {kind.TABLE: kind for kind in KINDS}
# Of these, what is here stays: of a source only the compiled code counts, and a person may have answered since.
_STAYS = (Source, Request)


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written; `left_out` are tables that are not Drivetrain's."""

    path: str
    manifest: Manifest
    size_bytes: int
    left_out: list[str] = []


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What was new here, or took the place of something damaged."""

    runs: list[str]
    rows: int
    artifacts: int
    size_bytes: int
    curves: int = 0


def export_runs(store: Store, names: Sequence[str], path: Path, *, without_versions: bool = False) -> Exported:
    """Write runs into an archive, with all that their cached steps and `why` need, and the versions they trained.

    Which version is champion is not told: that is for the store to decide that they come to.

    Raises:
        NotFound: there is no such run.
        Refused: one of them is running.
    """
    with store.sharing(), _snapshot(store) as ledger:
        chosen = _Selection(ledger, names, with_versions=not without_versions)
        found, files = (row for row in rows(ledger) if chosen.has(row)), files_of(store, ledger, chosen.runs)
        manifest = write_archive(path, store, found, files, kind="runs", runs=sorted(chosen.runs))
    return Exported(path=str(path), manifest=manifest, size_bytes=path.stat().st_size)


def export_everything(store: Store, path: Path) -> Exported:
    """Write the whole store into an archive: a backup, as of this moment.

    Finished parts of the prediction log are sealed first; the lines that a server still writes to are not in it.
    """
    for folder in sorted((store.root / "serving").glob("*")):
        if folder.is_dir():
            seal(store, folder.name)
    with store.sharing(), _snapshot(store) as ledger:
        runs = [run.id for run in ledger.find(Run)]
        found, files = rows(ledger, *_BY_TABLE), files_of(store, ledger, runs)
        manifest = write_archive(path, store, found, files, kind="everything", runs=runs)
        left_out = [name for name in tables(ledger) if name not in (*_BY_TABLE, POINTS)]
    return Exported(path=str(path), manifest=manifest, size_bytes=path.stat().st_size, left_out=left_out)


def import_archive(store: Store, path: Path, *, actor: str) -> Imported:
    """Take in what an archive holds and is not here yet; twice is the same as once.

    All of it is read and compared before anything is written. Artifacts come first; then one transaction brings every
    row, so that a process that is killed has imported all or nothing.

    Raises:
        BadArchive: it is damaged, or not of a known form, or a row contradicts one that is here.
        StoreUnavailable: there is no room for it.
    """
    with store.sharing(), opened(path) as archive:
        archive.verify()
        _, curves, runs = _new(store, archive)
        curves.verify()
        copied = _copy(store, archive)
        bring_logs(store, archive, runs)
        with store.ledger.transaction():
            fresh, curves, _ = _new(store, archive)
            fresh += curves.settle(store.ledger)
            store.ledger.write(*fresh)
            drawn = curves.write(store.ledger)
            runs = {record.id for record in fresh if isinstance(record, Run)}
            if fresh or drawn:
                record_event(
                    store.ledger,
                    "store.imported",
                    subject="store",
                    message=f"{len(runs)} runs were imported from {path.name}",
                    actor=actor,
                    evidence={"rows": len(fresh), "artifacts": len(copied)},
                )
    return Imported(
        runs=sorted(runs), rows=len(fresh), artifacts=len(copied), size_bytes=sum(copied.values()), curves=drawn
    )


class _Selection:
    """The rows that go with some runs."""

    def __init__(self, ledger: SQLiteLedger, names: Sequence[str], *, with_versions: bool) -> None:
        self.runs: set[str] = set()
        self.others: dict[str, set[Any]] = {kind.TABLE: set() for kind in (Version, Decision, Source, Request)}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in self.runs:
                continue
            run = ledger.get(Run, name)
            if run is None:
                known = [each.id for each in ledger.find(Run, order="-started_at")]
                raise NotFound(kind="run", name=name, known=known)
            if run.state == "running":
                raise Refused(f"{name} is running", remedy="wait until it has ended")
            self.runs.add(name)
            self.others[Request.TABLE].update(each.id for each in ledger.find(Request, {"run": name}))
            for step in ledger.find(StepRun, {"run": name}):
                waiting.append(step.origin)
                # A person may have answered the same question in an earlier run.
                answers = [output.detail.get("approval", {}) for output in step.outputs.values()]
                self.others[Request.TABLE].update(each["request"] for each in answers if "request" in each)
                self.others[Source.TABLE].update(
                    digest for word, digest in step.ingredients.items() if word.startswith("code.")
                )
            if with_versions:
                decisions = ledger.find(Decision, {"run": name})
                self.others[Decision.TABLE].update(each.id for each in decisions)
                judged = [ledger.get(Version, each.version) for each in decisions]
                for version in [*ledger.find(Version, {"run": name}), *judged]:
                    if version is not None:
                        self.others[Version.TABLE].add(version.id)
                        waiting.append(version.run)

    def has(self, row: Row) -> bool:
        if row.table == Run.TABLE:
            return row.values["id"] in self.runs
        if row.table in self.others:
            return row.values[row.key[0]] in self.others[row.table]
        return _may_move(row.table) and row.owner() in self.runs


def _may_move(table: str) -> bool:
    """Return whether rows of a table go with a run: its own, and not a decision of the store that it was in."""
    kind = _BY_TABLE.get(table)
    return kind in (Run, Source, Request, Version, Decision) or (
        kind is not None and kind is not Pin and "run" in kind.KEY
    )


@contextmanager
def _snapshot(store: Store) -> Iterator[SQLiteLedger]:
    """Give a second look at the ledger that stays as it is while others write."""
    make_table(store.ledger)
    ledger = SQLiteLedger(store.ledger.path)
    try:
        ledger.query("BEGIN")
        yield ledger
    finally:
        ledger.close()


def _new(store: Store, archive: Archive) -> tuple[list[Record], Curves, set[str]]:
    """Return the archive's records that are not here, or are damaged here, its curves, and the names of its runs.

    Figures with a curve come from the curves, once these have numbers.
    """
    manifest, made = archive.manifest, {name: Table(kind) for name, kind in _BY_TABLE.items()}
    there = {*manifest.artifacts, *manifest.missing}
    fresh: list[Record] = []
    curves, runs = Curves(archive), set[str]()
    events: dict[str, Event] = {}
    seen: set[tuple[Any, ...]] = set()
    for line in archive.lines():
        table = made.get(line.table)
        if table is None or (manifest.kind == "runs" and not _may_move(line.table)):
            raise archive.bad(f"it has rows of {line.table!r}, which is not to be imported", "update drivetrain")
        record = _record(archive, table, line.values)
        key = [getattr(record, field) for field in table.key]
        if (line.table, *key) in seen:
            raise archive.bad(f"it has the {line.table} {', '.join(map(str, key))} twice")
        seen.add((line.table, *key))
        try:
            here = store.ledger.get(table.kind, *key)
        except CorruptLedger:
            here = None
        if isinstance(record, Figure):
            is_another = curves.take(record, here if isinstance(here, Figure) else None)
            if here is None and record.curve is None:
                fresh.append(record)
        elif here is None or (isinstance(here, Tag) and isinstance(record, Tag) and here.at < record.at):
            fresh.append(record)
            is_another = False
        else:
            is_another = table.row(here) != table.row(record) and not isinstance(here, (*_STAYS, Tag))
        if is_another:
            raise archive.bad(
                f"its {line.table} {', '.join(map(str, key))} is another one than that which is here",
                "import a backup into an empty store (see store.path); "
                "export runs with --without-versions, and the next run registers theirs under new numbers",
            )
        if isinstance(record, Event):
            events[record.id] = record
        if isinstance(record, Run):
            runs.add(record.id)
        mentioned = Row(line.table, table.key, line.values, is_whole=True, number=0).needs() - there
        absent = next((digest for digest in mentioned if not store.artifacts.has(digest)), None)
        if absent is not None:
            raise archive.bad(f"its {line.table} {', '.join(map(str, key))} needs {absent}, which is not in it")
    if manifest.kind == "everything":
        _check_chain(store, archive, events)
    return fresh, curves, runs


def _record(archive: Archive, table: Table, values: dict[str, Any]) -> Record:
    unknown = values.keys() - set(table.fields)
    if unknown:
        raise archive.bad(f"{table.name} has {sorted(unknown)[0]!r}, unknown to this version", "update drivetrain")
    try:
        record: Record = table.record([values.get(name) for name in table.names])
        written = table.row(record)
    except (msgspec.MsgspecError, DrivetrainError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise archive.bad(f"a row does not fit the table {table.name}: {error}") from error
    if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in written):
        raise archive.bad(f"a row of {table.name} has a number that no ledger can hold")
    return record


def _check_chain(store: Store, archive: Archive, events: dict[str, Event]) -> None:
    """Refuse the backup of another store: its history and the one here must be one chain."""
    try:
        events = events | {event.id: event for event in store.ledger.find(Event)}
    except CorruptLedger:
        return  # it is what the backup mends
    if broken_link(sorted(events.values(), key=lambda event: event.number)) is not None:
        raise archive.bad(
            "it is a backup of another store, or this one has gone on from an earlier state",
            "import it into an empty store (see store.path), or export single runs",
        )


def _copy(store: Store, archive: Archive) -> dict[str, int]:
    """Bring in the artifacts that are not here or are damaged here, and return them with their sizes."""
    wanted = {
        digest: size_bytes for digest, size_bytes in archive.manifest.artifacts.items() if not _is_good(store, digest)
    }
    free = shutil.disk_usage(store.root).free
    if sum(wanted.values()) > free:
        raise StoreUnavailable(
            f"the archive {archive.path} needs {sum(wanted.values()):,} bytes, and {free:,} are free",
            remedy="free some space: `drivetrain store gc --dry-run` says what can go",
        )
    for digest in wanted:
        scratch, place = store.artifacts.scratch_path(), store.artifacts.place(digest)
        try:
            archive.copy_artifact(digest, scratch)
            if digest_of_file(scratch) != digest:
                raise archive.bad(f"{digest} has changed since it was verified")
            if place.exists():
                store.set_aside(digest)
            store.artifacts.adopt(scratch)
        except OSError as error:
            raise store.artifacts.unwritable(error) from error
        finally:
            store.artifacts.discard(scratch)
    return wanted


def _is_good(store: Store, digest: str) -> bool:
    place = store.artifacts.place(digest)
    return place.exists() and digest_of_file(place) == digest

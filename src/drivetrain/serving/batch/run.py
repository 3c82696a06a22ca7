"""A job from its command to its output, which goes on from its last finished part whenever it is asked for again."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import BadRow, Refused, UsageError
from drivetrain.security.event import record_event
from drivetrain.serving.batch.carry_out import Done, Order, counted_from, peak_mib
from drivetrain.serving.batch.history import holds, sweep
from drivetrain.serving.batch.images import plan_of_images
from drivetrain.serving.batch.job import UNFINISHED, BatchJob, BatchPart, Settings
from drivetrain.serving.batch.outputs import names_of
from drivetrain.serving.batch.place import Place
from drivetrain.serving.batch.plan import Part, Plan, check_columns, chunks, missing_columns, plan_of
from drivetrain.serving.batch.pool import here, in_processes
from drivetrain.serving.batch.scoring import Reject
from drivetrain.serving.batch.sizes import part_rows
from drivetrain.serving.batch.source import files_of, is_table
from drivetrain.serving.batch.table import copied, without_password
from drivetrain.serving.requests import reader_for
from drivetrain.store import exact
from drivetrain.store.folder import make_folders, sync_folder
from drivetrain.store.record import new_id, now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.registry.version import Version
    from drivetrain.store.store import Store


class Watch:
    """What is told while a job goes on; this one says nothing."""

    def begin(self, job: BatchJob, plan: Plan) -> None:
        """The parts are known; some may be finished already."""

    def read(self, rows: int) -> None:
        """So many rows more were read; fewer than none when a part begins anew."""

    def finish(self, part: BatchPart) -> None:
        """A part is finished."""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a job would do. `rows` is None where only reading all of it can tell; `missing` are columns, by file."""

    version: str
    output: str
    files: int
    parts: int
    rows: int | None
    size_bytes: int
    missing: dict[str, list[str]]
    is_taken: bool
    finished_parts: int = 0


class Batch:
    """Rows of an input, answered by a version into an output.

    `workers` is how many processes work beside each other, 0 for one a processor; `ray` is the address of a Ray
    cluster, or `local` for one on this machine.
    """

    def __init__(
        self,
        store: Store,
        version: Version,
        *,
        source: str,
        output: str,
        settings: Settings,
        workers: int = 0,
        ray: str = "",
        actor: str = "",
    ) -> None:
        if settings.part_rows < 0 or (settings.limit is not None and settings.limit < 1):
            raise UsageError("a number of rows is less than 1", remedy="give --limit and --part-rows from 1 on")
        settings = msgspec.structs.replace(settings, part_rows=settings.part_rows or part_rows(version.signature))
        self._store, self._version, self._source, self._settings = store, version, source, settings
        self._workers, self._ray, self._actor = workers or os.cpu_count() or 1, ray, actor
        self._reader = reader_for(version.signature)
        self._place = Place(output, settings.format)
        self._request = _digest_of(
            version.id,
            version.artifact.digest,
            version.code,
            {name: artifact.digest for name, artifact in version.side_inputs.items()},
            source if is_table(source) or "://" in source else os.path.abspath(source),
            self._place.name,
            # What did not fail under `fail` is the same under each of them.
            msgspec.structs.replace(settings, on_bad_row="fail"),
        )

    def preview(self) -> Preview:
        """Return what the job would do; nothing is written, and of a table nothing is read."""
        plan = Plan(files=[], parts=[], rows=None) if is_table(self._source) else self._plan(None)
        job = self._unfinished()
        return Preview(
            version=self._version.id,
            output=self._place.name,
            files=len(plan.files),
            parts=len(plan.parts),
            rows=plan.rows,
            size_bytes=sum(file.size_bytes for file in plan.files),
            missing=missing_columns(plan, self._reader),
            is_taken=self._place.is_taken(),
            finished_parts=job.parts_done if job and job.fingerprint == self._fingerprint(plan) else 0,
        )

    def run(self, watch: Watch | None = None, *, overwrite: bool = False) -> BatchJob:
        """Answer all rows, or those that no job like this has answered yet, and return the finished job.

        Raises:
            BadRow: a row does not fit, and the settings do not say what else to do with it.
            UsageError: the output is there already, or input and version do not fit each other.
            Refused: another process is at this output.
            StoreUnavailable: the disk is full, or a bucket or database cannot be reached.
            StepCrashed: a part has ended its process twice.
        """
        watch = watch or Watch()
        with self._alone():
            sweep(self._store)
            old = self._unfinished()
            if not (old and old.state == "placing") and self._place.is_taken():
                self._may_replace(overwrite, old)
            job, work, plan = self._begun(old)
            if job.fingerprint not in ("", self._fingerprint(plan)):  # a file has changed since
                self._supersede(job)
                job, work, plan = self._begun(None)
            for other in self._others(job):
                self._supersede(other)
            return self._carried_out(job, work, plan, watch)

    def _begun(self, old: BatchJob | None) -> tuple[BatchJob, Path, Plan]:
        """Return a job, that before or a new one, with its folder and what there is to do."""
        job = old or BatchJob(
            id=new_id("batch"), version=self._version.id, input=without_password(self._source),
            output=self._place.name, settings=msgspec.to_builtins(self._settings), request=self._request,
            started_at=now(), actor=self._actor,
        )  # fmt: skip
        work = Path(job.work) if job.work else self._place.work_of(job.id, self._store.root)
        if is_table(self._source):
            make_folders(work / "input")
            # It is known from here on, so that the copy is found again.
            self._store.ledger.write(msgspec.structs.replace(job, work=str(work), state="running"))
        plan = self._plan(work / "input" if is_table(self._source) else None)
        for name, lacking in missing_columns(plan, self._reader).items():
            raise UsageError(
                f"{self._version.id} needs the column {lacking[0]!r}, which {name} does not have",
                remedy="`--dry-run` names all that are missing",
            )
        answers = names_of(self._version.signature)
        check_columns(plan, self._settings, answers=answers, form=self._place.form, as_one=self._place.is_one)
        return job, work, plan

    def _carried_out(self, job: BatchJob, work: Path, plan: Plan, watch: Watch) -> BatchJob:
        ledger = self._store.ledger
        finished = self._still_there(job) if job.fingerprint else {}
        is_new = not job.fingerprint
        job = self._counted(
            msgspec.structs.replace(
                job, state="placing" if job.state == "placing" else "running", error="", work=str(work),
                fingerprint=self._fingerprint(plan), parts=len(plan.parts),
                settings=msgspec.to_builtins(self._settings),
            ),
            finished,
        )  # fmt: skip
        make_folders(work)
        with ledger.transaction():
            ledger.write(job)
            if is_new:
                self._tell(job, "started", f"{job.version} begins to answer {job.input} into {job.output}")
        watch.begin(job, plan)
        began = time.monotonic()
        seconds = job.seconds
        try:
            if job.state != "placing":
                for part, done in self._done(work, plan, set(finished), watch):
                    finished[part.number] = self._kept(job, work, part, done, len(plan.parts))
                    job = msgspec.structs.replace(
                        self._counted(job, finished),
                        seconds=seconds + time.monotonic() - began,
                        peak_mib=max(job.peak_mib, done.peak_mib),
                    )
                    ledger.write(finished[part.number], job)
                    watch.finish(finished[part.number])
            job = self._placed(job, work, plan, finished)
        except BaseException as error:
            is_asked = isinstance(error, KeyboardInterrupt)
            state = "interrupted" if is_asked else job.state if job.state == "placing" else "failed"
            told = self._counted_in_file(error, finished, plan) if isinstance(error, BadRow) else error
            job = msgspec.structs.replace(job, state=state, error="" if is_asked else str(told).partition("\n")[0])
            with ledger.transaction():
                ledger.write(job)
                self._tell(job, state, f"{job.id} has not finished: {job.error or 'Ctrl-C'}")
            if told is not error:
                raise told from error
            raise
        job = msgspec.structs.replace(
            job, state="finished", finished_at=now(), seconds=seconds + time.monotonic() - began, work=str(work),
            peak_mib=max(job.peak_mib, peak_mib()), rejects=self._place.rejects if job.rejected else "",
        )  # fmt: skip
        with ledger.transaction():
            ledger.write(job)
            rejected = f", {job.rejected:,} could not be" if job.rejected else ""
            self._tell(job, "finished", f"{job.version} answered {job.answered:,} rows into {job.output}{rejected}")
        sweep(self._store)
        return msgspec.structs.replace(job, work="")

    def _plan(self, folder: Path | None) -> Plan:
        """Return the parts; those of a table come from the copy in `folder`."""
        if folder is None:
            files = files_of(self._store, self._source)
            planned = plan_of_images if files[0].format == "image" else plan_of
            return planned(files, self._settings, self._reader)
        columns = {each.name: each.kind for each in self._reader.columns if each.kind not in ("image", "other")}
        return plan_of([copied(self._source, folder, columns)], self._settings, self._reader)

    def _done(self, work: Path, plan: Plan, finished: set[int], watch: Watch) -> Iterator[tuple[Part, Done]]:
        for leftover in (*work.glob("*.partial"), *work.glob("*-*.rejects")):
            leftover.unlink(missing_ok=True)
        parts = [part for part in plan.parts if part.number not in finished]
        order = Order(
            store=self._store.root.absolute(), allow_pickle=self._store.allow_pickle, version=self._version.id,
            columns=self._settings.columns, on_bad_row=self._settings.on_bad_row, work=work.absolute(),
            form=self._place.form_of_parts(len(plan.parts)), has_header=not self._place.is_one,
            bucket=self._place.name if self._place.is_bucket and not self._place.is_one else "",
        )  # fmt: skip
        if not parts:
            return iter(())
        if self._ray:
            from drivetrain.serving.batch.ray import on_ray

            return on_ray(order, parts, watch.read, address=self._ray, count=self._workers)
        if len(plan.parts) == 1:
            return here(order, parts, watch.read)
        return in_processes(order, parts, watch.read, count=min(self._workers, len(parts)))

    def _kept(self, job: BatchJob, work: Path, part: Part, done: Done, parts: int) -> BatchPart:
        """Give a part its name, and return its record."""
        path = done.path
        if "://" not in path:
            target = self._place.path_of(work, part.number, part.name, parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            Path(path).replace(target)
            sync_folder(target.parent)
            path = str(target)
        if done.rejects:
            Path(done.rejects).replace(work / f"{part.number:05}.rejects")
            sync_folder(work)
        return BatchPart(
            job=job.id, number=part.number, path=path, sha256=done.sha256, size_bytes=done.size_bytes, read=done.read,
            rows=done.rows, rejected=done.rejected, seconds=done.seconds, finished_at=now(),
        )  # fmt: skip

    def _placed(self, job: BatchJob, work: Path, plan: Plan, finished: dict[int, BatchPart]) -> BatchJob:
        """Bring what is finished to where it was asked for."""
        ledger = self._store.ledger
        parts = [finished[number] for number in sorted(finished)]
        is_in_place = self._place.is_bucket and not self._place.is_one
        if job.state != "placing":
            whole = work / "output"
            if self._place.is_one:
                whole = self._place.put_together(work, [part.path for part in parts])
            self._place.put_rejects(work, _rejects(work, plan, finished) if job.rejected else None)
            if not is_in_place and whole.name != "ready":
                whole.rename(work / "ready")
            job = msgspec.structs.replace(job, state="placing")
            ledger.write(job)
        if not is_in_place and (work / "ready").exists():
            self._place.put(work / "ready", work=work)
        return job

    def _still_there(self, job: BatchJob) -> dict[int, BatchPart]:
        """Return the finished parts of a job whose bytes are as they were written."""
        found = {}
        for part in self._store.ledger.find(BatchPart, {"job": job.id}):
            if job.state == "placing" or holds(part):
                found[part.number] = part
            else:
                self._store.ledger.delete(BatchPart, job.id, part.number)
        return found

    def _counted(self, job: BatchJob, finished: dict[int, BatchPart]) -> BatchJob:
        return msgspec.structs.replace(
            job,
            parts_done=len(finished),
            rows=sum(part.rows for part in finished.values()),
            rejected=sum(part.rejected for part in finished.values()),
        )

    def _counted_in_file(self, error: BadRow, finished: dict[int, BatchPart], plan: Plan) -> BadRow:
        """Return the error with its row counted in the file, and not in the part."""
        part = error.__dict__.get("part")
        if part is None:
            part = next(each for each in plan.parts if each.number not in finished)
        return counted_from(error, _first_row(part, plan, finished))

    def _unfinished(self) -> BatchJob | None:
        """Return the job that asked for the same and has not finished."""
        for job in self._others(None):
            if job.request == self._request and job.settings["on_bad_row"] in ("fail", self._settings.on_bad_row):
                return job
        return None

    def _others(self, but: BatchJob | None) -> list[BatchJob]:
        where = {"output": self._place.name, "state in": list(UNFINISHED)}
        found = self._store.ledger.find(BatchJob, where, order="-started_at")
        return [job for job in found if but is None or job.id != but.id]

    def _supersede(self, job: BatchJob) -> None:
        if job.work:
            shutil.rmtree(job.work, ignore_errors=True)
        if self._place.is_bucket and not self._place.is_one and job.parts_done:
            self._place.clear(is_ours=True)
        self._store.ledger.write(msgspec.structs.replace(job, state="superseded", work="", finished_at=now()))

    def _may_replace(self, overwrite: bool, old: BatchJob | None) -> None:
        ledger = self._store.ledger
        where = {"output": self._place.name, "state": "finished"}
        last = next(iter(ledger.find(BatchJob, where, order="-started_at", limit=1)), None)
        in_bucket = self._place.is_bucket and not self._place.is_one
        if in_bucket and old is not None and not overwrite:
            return  # its own parts
        if not overwrite:
            by = f", by {last.id} with {last.version}" if last else ""
            raise UsageError(
                f"{self._place.name} is there already{by}", remedy="--overwrite replaces it, or name another one"
            )
        self._place.clear(is_ours=last is not None or (in_bucket and bool(self._others(None))))

    def _fingerprint(self, plan: Plan) -> str:
        return _digest_of(
            self._request,
            [[file.name, file.stamp] for file in plan.files],
            [[part.file.name, part.start, part.stop, part.most, part.name] for part in plan.parts],
        )

    def _tell(self, job: BatchJob, what: str, message: str) -> None:
        evidence = {"version": job.version, "rows": job.rows, "rejected": job.rejected, "output": job.output}
        record_event(
            self._store.ledger, f"batch.{what}", subject=job.id, message=message, actor=self._actor or "drivetrain",
            evidence=evidence,
        )  # fmt: skip

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the output, so that two commands never write it at once; a process that dies lets go of it."""
        path = self._place.lock_of(self._store.root)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Refused(
                    f"another process is writing {self._place.name}", remedy="wait for it, or end it; then go on"
                ) from error
            yield


def _first_row(part: Part, plan: Plan, finished: dict[int, BatchPart]) -> int:
    """Return the number of a part's first row in its file; parts of a text file before it are counted for that."""
    if part.first_row is not None:
        return part.first_row
    before = [each for each in plan.parts if each.file == part.file and each.number < part.number]
    return sum(
        finished[each.number].read
        if each.number in finished
        else sum(frame.height for frame, _ in chunks(each, 65_536))
        for each in before
    )


def _rejects(work: Path, plan: Plan, finished: dict[int, BatchPart]) -> Iterator[bytes]:
    for part in plan.parts:
        path = work / f"{part.number:05}.rejects"
        if not finished[part.number].rejected:
            continue
        first = _first_row(part, plan, finished)
        with open(path, "rb") as file:
            for line in file:
                reject = msgspec.json.decode(line, type=Reject)
                yield msgspec.json.encode(msgspec.structs.replace(reject, row=reject.row + first)) + b"\n"


def _digest_of(*values: Any) -> str:
    return sha256(exact.encode(msgspec.to_builtins(values))).hexdigest()

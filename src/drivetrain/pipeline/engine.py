"""The engine: executes a plan on this machine, each step once for each key, and records all of it."""

from __future__ import annotations

import os
import threading
import time
import traceback
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.errors import DrivetrainError, NotFound, Place, StepFailed, StoreError
from drivetrain.pipeline.attachment import attach
from drivetrain.pipeline.code import CodeReader
from drivetrain.pipeline.figure import outcome_of, settings_of
from drivetrain.pipeline.key import changes, ingredients_of, key_of
from drivetrain.pipeline.log import CURRENT
from drivetrain.pipeline.memory import PeakMemory
from drivetrain.pipeline.origin import OriginReader
from drivetrain.pipeline.points import Points
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.pipeline.source import Source
from drivetrain.security.event import record_event
from drivetrain.store.record import new_id, now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from drivetrain.pipeline.plan import Plan
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store
    from drivetrain.system.part import Output, Part

    Observer = Callable[[StepRun], None]

_SHARED_TYPES = (int, float, str, bytes, bool, type(None))


class Execution:
    """One run on its way: what is known of each output so far."""

    def __init__(
        self,
        plan: Plan,
        *,
        store: Store,
        root: Path,
        workers: int = 0,
        reason: str = "by hand",
        force: frozenset[str] = frozenset(),
        observer: Observer | None = None,
    ) -> None:
        self.plan, self.store, self.root = plan, store, root
        self.system = plan.system
        self.workers = workers or os.cpu_count() or 1
        self.force, self.observer = force, observer or (lambda step: None)
        self.code = CodeReader(root)
        self.warnings: dict[str, None] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.keys: dict[str, str] = {}
        # Values that cannot be changed in place are handed on as they are; the others are read anew for each step.
        self.held: dict[str, Any] = {}
        self.steps: dict[str, StepRun] = {}
        self.run = Run(
            id=new_id("run"),
            system=self.system.name,
            state="running",
            started_at=now(),
            reason=reason,
            settings={name: values for name, values in plan.settings.items() if values and name in plan.steps},
            pid=os.getpid(),
        )
        self._pending_cached: list[StepRun] = []

    def execute(self) -> Run:
        """Carry the plan out and return the run's record.

        Raises:
            StepFailed: a step raised; what finished before it is kept, and the next run goes on from there.
            StoreError: something could not be kept.
        """
        mark_interrupted(self.store)
        origin = OriginReader(self.root)
        self.store.ledger.write(self.run, *settings_of(self.run))
        failure: BaseException | None = None
        try:
            self._schedule()
        except BaseException as error:
            failure = error
        found = origin.result()
        state: Literal["finished", "failed", "interrupted"] = (
            "finished" if failure is None else "failed" if isinstance(failure, Exception) else "interrupted"
        )
        try:
            self.run = msgspec.structs.replace(
                self.run,
                state=state,
                finished_at=now(),
                actor=found.actor,
                commit=found.commit,
                dirty_diff=self.store.artifacts.put(found.dirty_diff.encode()) if found.dirty_diff else "",
                environment=found.environment | self._packages(),
                error="" if failure is None else str(failure) or type(failure).__name__,
            )
            with self.store.ledger.transaction():
                figures = outcome_of(self.store.ledger, self.run.id, self.steps.values())
                self.store.ledger.write(self.run, *self._pending_cached, *figures)
                record_event(
                    self.store.ledger, f"run.{state}", subject=self.run.id, actor=found.actor, message=self._sentence()
                )
        except StoreError:
            if failure is None:
                raise
        if failure is not None:
            raise failure
        return self.run

    def _schedule(self) -> None:
        """Start each step when its inputs are there, as many at once as there are workers."""
        waiting = dict.fromkeys(self.plan.steps)
        done: SimpleQueue[tuple[str, BaseException | None]] = SimpleQueue()
        running = 0
        missing = {name: self._inputs_missing(name) for name in waiting}
        takers: dict[str, list[str]] = {}
        for name, needs in missing.items():
            for need in needs:
                takers.setdefault(need, []).append(name)
        ready = [name for name in waiting if not missing[name]]
        failure: BaseException | None = None
        while ready or running:
            while ready and failure is None and running < self.workers:
                name = ready.pop(0)
                step = self._prepare(name)
                if step.state == "cached":
                    done.put((name, None))
                elif not ready and not running:
                    done.put((name, self._attempt(step)))
                else:
                    threading.Thread(target=lambda s=step: done.put((s.step, self._attempt(s))), daemon=True).start()
                running += 1
            if not running:
                break
            name, error = done.get()
            running -= 1
            failure = failure or error
            for taker in takers.get(name, ()):
                missing[taker].discard(name)
                if not missing[taker]:
                    ready.append(taker)
        if failure is not None:
            raise failure

    def _inputs_missing(self, name: str) -> set[str]:
        planned = set(self.plan.steps)
        return {
            giver.name
            for need in self.system.needs[name].values()
            if (giver := self.system.producers[need]).name in planned
        }

    def _prepare(self, name: str) -> StepRun:
        """Work out the step's key, and whether its outcome is there already."""
        part: Part = self.system.parts[name]
        inputs = {word: self.artifacts[need] for word, need in self.system.needs[name].items()}
        made_of, sources, warnings = ingredients_of(
            part, code=self.code, settings=self.plan.settings[name], inputs=inputs
        )
        self.warnings |= dict.fromkeys(warnings)
        key = key_of(made_of)
        self.keys[name] = key
        reason = "forced" if name in self.force else "decides anew in every run" if not part.CACHED else ""
        if not reason:
            known = self.store.ledger.find(StepRun, {"key": key, "state": "finished"}, order="-started_at", limit=1)
            if known and all(self.store.artifacts.has(kept.digest) for kept in known[0].outputs.values()):
                step = msgspec.structs.replace(
                    known[0], run=self.run.id, state="cached", reason="nothing changed", started_at=now(), seconds=0.0
                )
                self._pending_cached.append(step)
                self._settle(step)
                return step
            reason = "its output is gone" if known else self._why_now(part, made_of)
        step = StepRun(
            run=self.run.id,
            step=name,
            role=part.ROLE,
            state="running",
            key=key,
            origin=self.run.id,
            reason=reason,
            started_at=now(),
            inputs=inputs,
            settings=self.plan.settings[name],
            ingredients=made_of,
        )
        self.store.ledger.write(step, *(Source(digest=digest, text=text) for digest, text in sources.items()))
        self.steps[name] = step
        self.observer(step)
        return step

    def _why_now(self, part: Part, made_of: Mapping[str, str]) -> str:
        earlier = self.store.ledger.find(
            StepRun, {"step": part.name, "state": "finished"}, order="-started_at", limit=1
        )
        if not earlier:
            return "first time"
        found = changes(earlier[0].ingredients, made_of)
        return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")

    def _attempt(self, step: StepRun) -> BaseException | None:
        """Do the step's work and commit it; return what it raised."""
        part: Part = self.system.parts[step.step]
        task = Task(self, step)
        token = CURRENT.set(task)
        memory, started = PeakMemory(), time.perf_counter()
        try:
            outputs = part.perform(task)
            kept = {name: self._keep(part, name, output) for name, output in outputs.items()}
        except BaseException as error:
            failed = self._failure(part, error)
            step = msgspec.structs.replace(
                step,
                state="failed",
                seconds=time.perf_counter() - started,
                peak_mib=memory.mib(),
                error=_account(failed),
            )
            try:
                task.points.close(step)
            except StoreError as second:
                failed.add_note(f"and its failure could not be recorded: {second}")
            self.steps[step.step] = step
            self.observer(step)
            return failed
        finally:
            CURRENT.reset(token)
        step = msgspec.structs.replace(
            step, state="finished", seconds=time.perf_counter() - started, peak_mib=memory.mib(), outputs=kept
        )
        try:
            task.points.close(step)
        except StoreError as error:
            return error
        self._settle(step)
        return None

    def _keep(self, part: Part, name: str, output: Output) -> Artifact:
        kept = self.store.keep(output.value, part=name, detail=output.detail, place=part.place)
        if isinstance(output.value, _SHARED_TYPES) or self.store.shares(output.value):
            self.held[name] = output.value
        return kept

    def _settle(self, step: StepRun) -> None:
        self.artifacts |= step.outputs
        self.steps[step.step] = step
        self.observer(step)

    def _failure(self, part: Part, error: BaseException) -> BaseException:
        if isinstance(error, DrivetrainError) or not isinstance(error, Exception):
            if isinstance(error, DrivetrainError) and error.place is None:
                error.place = part.place
            return error
        place, shown = part.place, []
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename.startswith(str(self.root)) and "site-packages" not in frame.filename:
                place = Place(frame.filename, frame.lineno or 0)
            shown.append(frame)
        ours = os.path.dirname(os.path.dirname(__file__))
        text = "".join(traceback.format_list([frame for frame in shown if not frame.filename.startswith(ours)]))
        failed = StepFailed(step=part.name, cause=f"{type(error).__name__}: {error}", traceback=text, place=place)
        failed.__cause__ = error
        return failed

    def _packages(self) -> dict[str, str]:
        return {
            name.removeprefix("package."): version
            for step in self.steps.values()
            for name, version in step.ingredients.items()
            if name.startswith("package.")
        }

    def _sentence(self) -> str:
        states = [step.state for step in self.steps.values()]
        figures = f"{states.count('finished')} steps run, {states.count('cached')} unchanged"
        if self.run.state == "finished":
            return f"A run ({self.run.reason}) finished: {figures}."
        return f"A run ({self.run.reason}) {self.run.state}: {figures}. {self.run.error.splitlines()[0]}"


class Task:
    """One step's turn in a run: the `Job` that its part is handed."""

    def __init__(self, execution: Execution, step: StepRun) -> None:
        self._execution, self._step = execution, step
        self.run, self.store, self.system = execution.run.id, execution.store, execution.system
        self.settings: Mapping[str, Any] = step.settings
        self.root = execution.root
        self.points = Points(self, step.step)

    def artifact(self, name: str) -> Artifact:
        """Return what is known of an output that this step may read."""
        try:
            return self._execution.artifacts[name]
        except KeyError as error:
            raise NotFound(kind="output", name=name, known=list(self._execution.artifacts)) from error

    def value(self, name: str, form: Any = None) -> Any:
        """Return the value of an output, in the annotated form."""
        output = self.system.needs[self._step.step].get(name, name)
        artifact = self.artifact(output)
        held = self._execution.held.get(output)
        if held is not None and (form is None or form is Any or (isinstance(form, type) and isinstance(held, form))):
            return held
        return self.store.value(artifact, form)

    def key(self, name: str) -> str:
        """Return the key of the part that gives an output."""
        return self._execution.keys[self.system.producers[name].name]

    def settings_of(self, name: str) -> Mapping[str, Any]:
        """Return the settings of a part in this run."""
        return self._execution.plan.settings[name]

    def log(self, name: str, value: float, step: int | None = None) -> None:
        """Record one point of a metric."""
        self.points.log(name, value, step)

    def attach(self, name: str, value: Any) -> None:
        """Keep a value or a file beside this step's output."""
        attach(self.store, self.run, self._step.step, name, value)


def execute(plan: Plan, *, store: Store, root: Path, **options: Any) -> Run:
    """Carry out a plan; see `Execution` for the options."""
    return Execution(plan, store=store, root=root, **options).execute()


def mark_interrupted(store: Store) -> None:
    """Give each run whose process is gone its right state: it was interrupted."""
    for run in store.ledger.find(Run, {"state": "running"}):
        if not _is_alive(run.pid):
            store.ledger.write(msgspec.structs.replace(run, state="interrupted", error="its process was ended"))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _account(error: BaseException) -> str:
    trace = getattr(error, "traceback", "")
    return f"{error}\n\n{trace}".strip()

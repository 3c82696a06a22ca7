"""The engine: executes a plan on this machine, each step once for each key, and records all of it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import DrivetrainError, StoreError
from drivetrain.pipeline.attempt import Attempts
from drivetrain.pipeline.budget import Budget, Share
from drivetrain.pipeline.claim import claim, commit
from drivetrain.pipeline.code import CodeReader
from drivetrain.pipeline.conclusion import conclude
from drivetrain.pipeline.crew import Crew, Ended
from drivetrain.pipeline.failure import account
from drivetrain.pipeline.figure import settings_of
from drivetrain.pipeline.handover import Handover
from drivetrain.pipeline.held import Held
from drivetrain.pipeline.key import ingredients_of, key_of
from drivetrain.pipeline.known import checked_afterwards, giver_of, known_outcome, lost_digest, outcomes_before, taken
from drivetrain.pipeline.mapping import Gathering
from drivetrain.pipeline.node import Node, inputs_of, taken_by, texts_of, why_skipped
from drivetrain.pipeline.origin import OriginReader
from drivetrain.pipeline.run import Run, StepRun, StepState
from drivetrain.pipeline.runner import Heart, mark_interrupted
from drivetrain.pipeline.schedule import Schedule
from drivetrain.pipeline.steplog import captured
from drivetrain.pipeline.task import Order, Outcome
from drivetrain.pipeline.why import why_now
from drivetrain.store.record import new_id, now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drivetrain.pipeline.observer import Observer
    from drivetrain.pipeline.plan import Plan
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store

# How often a step that another runner is at is looked for.
LOOK_S = 0.05


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
        budget: Budget | None = None,
        asks_git: bool = True,
    ) -> None:
        self.plan, self.store, self.root, self.system = plan, store, root, plan.system
        self.force, self.observer = force, observer
        self.budget = budget or Budget(cpu=workers or os.cpu_count() or 1)
        self.code, self._asks_git = CodeReader(root), asks_git
        self.warnings: dict[str, None] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.keys: dict[str, str] = {}
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
        self._held, self._schedule = Held(plan), Schedule(plan, self.budget)
        self._crew = Crew()
        self._gathering = Gathering(store, root, force)
        # Steps that did not run, written together when the run ends.
        self._unchanged: list[StepRun] = []
        # Pairs of a step and the one that gave it something that was lost.
        self._mended: set[tuple[str, str]] = set()
        self._failure: BaseException | None = None

    def execute(self) -> Run:
        """Carry the plan out and return the run's record.

        Raises:
            StepFailed: a step raised; what finished before it is kept, and the next run goes on from there.
            StoreError: something could not be kept.
            DeclarationError: a step reads a file that is not there, or asks for more than this machine has.
        """
        for part in (self.system.parts[name] for name in self.plan.steps):
            self.budget.check(part)
            part.files_read(self.root, texts_of(Node(part), {}, self.store))
        with self.store.sharing():
            return self._execute()

    def _execute(self) -> Run:
        self._attempts = Attempts(
            system=self.system,
            store=self.store,
            root=self.root,
            run=self.run.id,
            held=self._held.values,
            handover=Handover(self.store.root / "handover" / self.run.id),
        )
        mark_interrupted(self.store.ledger)
        self._before = outcomes_before(self.system.name, self.plan.steps, self.store.ledger)
        heart = Heart(self.store.ledger, self.run.id)
        self.store.ledger.write(self.run, heart.runner(), *settings_of(self.run))
        origin = OriginReader(self.root, asks_git=self._asks_git)  # where that write fails, nobody waits for git
        heart.start()
        try:
            with captured():
                self._go()
        except BaseException as error:
            self._failure = error
        finally:
            self._crew.close()
            self._attempts.close()
            heart.stop()
        try:
            self.run = conclude(
                self.run,
                self.steps.values(),
                store=self.store,
                origin=origin.result(),
                failure=self._failure,
                unwritten=self._unchanged,
            )
        except StoreError as error:
            self._failure = self._failure or error
        if self._failure is not None:
            raise self._failure
        return self.run

    def _go(self) -> None:
        """Begin what may begin, and take in what comes of it, until nothing is left."""
        schedule = self._schedule
        while True:
            self._begin_what_fits()
            if not schedule.running and (self._failure or not (schedule.elsewhere or schedule.has_ready)):
                return
            if not schedule.running and not schedule.elsewhere:
                continue
            ended = self._crew.ended(LOOK_S if schedule.elsewhere else None)
            if not ended:
                schedule.look_again()
                continue
            for each in ended:
                schedule.release(each.node)
            if all(each.outcome.error is None for each in ended):
                self._begin_what_fits()  # others are at work while the disk is waited for
            self._conclude(ended)

    def _begin_what_fits(self) -> None:
        for node, share in self._schedule.startable() if self._failure is None else ():
            self._begin(node, share)
            if self._failure is not None:
                return

    def _begin(self, node: Node, share: Share) -> None:
        """Take a node's turn: it is known already, another runner's, skipped, or done now."""
        try:
            step = self._prepare(node)
        except (DrivetrainError, OSError) as error:
            step, self._failure = None, error
        if step is None:
            self._schedule.give_back(share)
            return
        self._schedule.begin(node, share)
        order = self._order(node)
        turn = partial(self._attempt, node, step, order, share)
        if node.is_mapped:
            self._crew.hand_in(Ended(node, step, self._gathering.together(node, order, self._attempts)))
        elif self._schedule.is_crowded or node.part.conduct.is_isolated:
            self._crew.begin(turn)
        else:
            self._crew.hand_in(turn())

    # What a step's turn is.

    def _prepare(self, node: Node) -> StepRun | None:
        """Return the step that is to be done now; None where nothing is, or not yet, or not here."""
        why_not = why_skipped(node.part, self.system, self.artifacts, self.store)
        if why_not:
            step = self._new_step(node, {}, state="skipped", reason=why_not)
            self._unchanged.append(step)
            self._settle(node, step)
            return None
        # What has been expanded is what its items were then, whatever has come since.
        made_of, sources = node.made_of or self._made_of(node)
        key = self.keys[node.name] = key_of(made_of)
        reason = node.reason or ("forced" if self.force & {node.name, node.part.name} else "")
        labels = self._gathering.labels(node)
        anew = bool(reason) or labels is not None
        if labels is not None:
            ran = sum(self.steps[f"{node.name}[{label}]"].state == "finished" for label in labels)
            reason = f"{ran} of {len(labels)} items ran"
        elif node.part.CACHED:
            known = known_outcome(node.part, key, store=self.store, before=self._before)
            is_forced = reason or self._gathering.is_forced(node)
            if not is_forced and known.step is not None and not known.fault:
                self._take_known(node, known.step)
                return None
            reason = reason or known.fault
            if node.is_mapped:
                node.made_of, node.expanded_at = (made_of, sources), now()
                children = self._gathering.expand(node, self.artifacts)
                self._schedule.add(children)
                if self.observer is not None:
                    self.observer.expanded(node.name, len(children))
                if not children:
                    self._schedule.make_ready(node)
                return None
        else:
            reason = "decides anew in every run"
        step = self._new_step(node, made_of, state="running", reason=reason)
        if labels is not None and node.expanded_at is not None:
            took = (step.started_at - node.expanded_at).total_seconds()
            step = msgspec.structs.replace(step, started_at=node.expanded_at, seconds=took)
        if not reason:
            reason = why_now(node.name, made_of, inputs=step.inputs, sources=sources, store=self.store)
            step = msgspec.structs.replace(step, reason=reason)
        if node.part.CACHED:
            found = claim(step, node.part, sources, store=self.store, anew=anew)
            if isinstance(found, StepRun):
                self._take_known(node, found)
                return None
            if found == "elsewhere":
                self._schedule.elsewhere.append(node)
                return None
        else:
            self.store.ledger.write(step)
        self._show(step)
        return step

    def _made_of(self, node: Node) -> tuple[dict[str, str], Mapping[str, str]]:
        """Return what the key of a node is made of, and the sources of the code behind it."""
        made_of, sources, warnings = ingredients_of(
            node.part,
            code=self.code,
            settings=self.plan.settings[node.part.name],
            inputs=inputs_of(node, self.system, self.artifacts),
            store=self.store,
            root=self.root,
            items=texts_of(node, self.artifacts, self.store),
        )
        self.warnings |= dict.fromkeys(warnings)
        return made_of, sources

    def _new_step(self, node: Node, made_of: Mapping[str, str], *, state: StepState, reason: str) -> StepRun:
        return StepRun(
            run=self.run.id,
            step=node.name,
            role=node.part.ROLE,
            state=state,
            key=key_of(made_of),
            origin=self.run.id,
            reason=reason,
            started_at=now(),
            inputs=taken_by(node, self.system, self.artifacts),
            settings=self.plan.settings[node.part.name],
            ingredients=dict(made_of),
            parent=node.part.name if node.label else "",
            place=str(node.part.place),
        )

    def _order(self, node: Node) -> Order:
        part = node.part
        takers = self._schedule.takers(part.name)
        return Order(
            run=self.run.id,
            step=node.name,
            part=part.name,
            item=node.item,
            artifacts=self.artifacts,
            keys=self.keys,
            settings=self.plan.settings,
            hands_over=bool(takers)
            and (part.conduct.is_isolated or any(taker.part.conduct.is_isolated for taker in takers)),
        )

    # Doing it, and what comes of it.

    def _attempt(self, node: Node, step: StepRun, order: Order, share: Share) -> Ended:
        try:
            step, outcome = self._attempts.perform(
                order,
                step,
                gpus=share.gpus,
                again=self._show,
                said=lambda line: self.observer.said(node.name, line) if self.observer else None,
            )
        except BaseException as error:
            outcome = Outcome(error=error)
        return Ended(node, step, outcome)

    def _conclude(self, ended: list[Ended]) -> None:
        """Take in what came of steps; what they gave is committed together."""
        finished = []
        for node, step, outcome in ended:
            self._schedule.end(node)
            if outcome.error is not None:
                continue
            try:
                finished.append(Ended(node, self._finished(node, step, outcome), outcome))
            except DrivetrainError as error:
                self._failure = self._failure or error
        if finished:
            self._commit(finished)
        for node, step, outcome in ended:
            if outcome.error is not None:
                self._fail(node, step, outcome.error)

    def _finished(self, node: Node, step: StepRun, outcome: Outcome) -> StepRun:
        given = {name: outcome.outputs[name] for name in node.part.outputs()}
        step = msgspec.structs.replace(step, state="finished", outputs=given)
        step, warnings = checked_afterwards(step, node.part, lambda: self._made_of(node)[0])
        self.warnings |= dict.fromkeys(warnings)
        return step

    def _commit(self, finished: list[Ended]) -> None:
        try:
            lost = commit(self.store.ledger, [each.step for each in finished])
        except DrivetrainError as error:
            self._failure = self._failure or error
            return
        for node, step, outcome in finished:
            if node.name in lost:
                # Whoever took the step over finishes it, or has.
                self._schedule.elsewhere.append(node)
                continue
            if not node.label:
                self._held.keep(outcome.values)
            self._settle(node, step)

    def _fail(self, node: Node, step: StepRun, error: BaseException) -> None:
        if self._mend(node, step, error):
            return
        self._failure = self._failure or error
        state: StepState = "failed" if isinstance(error, Exception) else "interrupted"
        step = msgspec.structs.replace(step, state=state, error=account(error))
        try:
            self.store.ledger.write(step)
        except StoreError as second:
            error.add_note(f"and its failure could not be recorded: {second}")
        self._show(step)

    def _take_known(self, node: Node, known: StepRun) -> None:
        """Take what was finished before as this node's outcome, under this node's own names."""
        step = taken(known, node, run=self.run.id)
        self._unchanged.append(step)
        self._settle(node, step)

    def _settle(self, node: Node, step: StepRun) -> None:
        """Take a step as done: its outputs are there, and those that waited for it may begin."""
        node.reason = ""
        self._show(step)
        if node.label:
            if self._gathering.take(node, step.outputs):
                self._schedule.make_ready(self._schedule.nodes[node.part.name])
            return
        self.artifacts |= step.outputs
        self._held.taken(node.name)
        self._schedule.settle(node.name)

    def _show(self, step: StepRun) -> None:
        self.steps[step.step] = step
        if self.observer is not None:
            self.observer.step(step)

    # Damage.

    def _mend(self, node: Node, step: StepRun, error: BaseException) -> bool:
        """Where an input's bytes are lost, do the step that gave them again before this one; for each input once."""
        digest = lost_digest(error)
        output = giver_of(digest, self.artifacts, self.store) if digest else ""
        giver = self._schedule.nodes.get(self.system.producers[output].name) if output else None
        if giver is None or (node.name, giver.name) in self._mended:
            return False
        self._mended.add((node.name, giver.name))
        self.store.ledger.write(msgspec.structs.replace(step, state="interrupted", error=str(error)))
        if not giver.reason and self.store.artifacts.fault(digest):
            self.store.set_aside(digest)
            giver.reason = "its output was damaged or deleted"
            self._held.forget(giver.part.outputs())
            self._gathering.forget(giver)
            giver.made_of = None
            self._unchanged = [other for other in self._unchanged if other.step != giver.name]
            self._schedule.make_ready(giver)
        # Another reader may have seen to it before, and it may be done already.
        self._schedule.wait(node, [giver.name] if giver.reason else [])
        return True

"""Why a step would run or not: what its key is made of now, beside what it was made of when it last ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from drivetrain.errors import UnknownName
from drivetrain.pipeline.change import Changes, changes_since
from drivetrain.pipeline.code import CodeReader
from drivetrain.pipeline.key import ingredients_of, key_of
from drivetrain.pipeline.known import known_outcome
from drivetrain.pipeline.node import Node, inputs_of, items_there, taken_by, texts_of
from drivetrain.pipeline.run import StepRun
from drivetrain.pipeline.selection import item_named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drivetrain.pipeline.node import Item
    from drivetrain.pipeline.plan import Plan
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store
    from drivetrain.system.part import Part


# The key of such an outcome is never met again.
_UNSURE = "what it reads changed while it last ran"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the next run would do with a step, and why.

    `diffs` are line diffs of the project code that changed. `waits_for` names inputs that will be made anew, so that
    it cannot be said yet whether this step will run. `ran_because` and `ran_diffs` say the same of the last time that
    the step ran. `warnings` name what its key cannot cover.
    """

    step: str
    verdict: Literal["hit", "miss", "waits", "always"]
    reasons: list[str]
    diffs: list[str] = []
    waits_for: list[str] = []
    last: StepRun | None = None
    ran_because: list[str] = []
    ran_diffs: list[str] = []
    warnings: list[str] = []
    items: dict[str, list[str]] = {}


def why(name: str, plan: Plan, *, store: Store | None, root: Path) -> Verdict:
    """Return what the next run would do with the step or item `name`, without running anything, and why it last ran.

    `store` is None where nothing has run yet.

    Raises:
        UnknownName: no step or item is called that.
    """
    owner, label = item_named(name)
    giver = plan.system.producers.get(owner)
    owner = giver.name if giver is not None and giver.name in plan.steps else owner
    if owner not in plan.steps:
        raise UnknownName(kind="step", name=owner, known=plan.steps)
    if store is None:
        return Verdict(step=name, verdict="miss", reasons=["it has never finished"])
    asker = _Asker(plan, store, root)
    for each in plan.system.upstream(owner):
        asker.ask(each)
    verdict = asker.item(owner, label) if label else asker.with_items(owner)
    if verdict.last is None:
        return verdict
    ran = ran_because(verdict.last, store=store)
    last = _as_it_ran(verdict.last, store)
    return msgspec.structs.replace(verdict, last=last, ran_because=ran.reasons, ran_diffs=ran.diffs)


def explain_all(plan: Plan, *, store: Store | None, root: Path) -> dict[str, Verdict]:
    """Return the verdict on each step of a plan."""
    if store is None:
        return {name: Verdict(step=name, verdict="miss", reasons=["it has never finished"]) for name in plan.steps}
    asker = _Asker(plan, store, root)
    return {name: asker.ask(name) for name in plan.steps}


class _Asker:
    """Goes through a plan's steps in order, and knows what those before gave."""

    def __init__(self, plan: Plan, store: Store, root: Path) -> None:
        self._plan, self._store, self._root = plan, store, root
        self._reader = CodeReader(root)
        self._artifacts: dict[str, Artifact] = {}
        self._verdicts: dict[str, Verdict] = {}

    def ask(self, name: str) -> Verdict:
        """Return the verdict on a step, after those on all that it needs."""
        part = self._plan.system.parts[name]
        verdict = self._verdict(Node(part))
        if verdict.verdict == "hit" and verdict.last is not None:
            self._artifacts |= verdict.last.outputs
        self._verdicts[name] = verdict
        return verdict

    def item(self, name: str, label: str) -> Verdict:
        """Return the verdict on one item of a mapped step.

        Raises:
            UnknownName: the step is not mapped, or has no such item.
        """
        part = self._plan.system.parts[name]
        if not part.conduct.each:
            mapped = [each for each in self._plan.steps if self._plan.system.parts[each].conduct.each]
            raise UnknownName(kind="mapped step", name=name, known=mapped)
        full = f"{name}[{label}]"
        items = self._items(part)
        if items is None:
            anew = [f"{word} is made anew" for word in self._anew_words(part)]
            return Verdict(step=full, verdict="waits", reasons=anew, last=last_used(self._store, full))
        if label not in items:
            raise UnknownName(kind=f"item of {name!r}", name=label, known=list(items))
        return self._verdict(Node(part, label=label, item=items[label]))

    def with_items(self, name: str) -> Verdict:
        """Return the verdict on a step with its items that will run."""
        part, verdict = self._plan.system.parts[name], self._verdicts[name]
        items = self._items(part) if part.conduct.each and verdict.verdict == "miss" else None
        found = [self._verdict(Node(part, label=label, item=item)) for label, item in (items or {}).items()]
        running = {item_named(each.step)[1]: each.reasons for each in found if each.verdict != "hit"}
        return msgspec.structs.replace(verdict, items=running)

    def _items(self, part: Part) -> dict[str, dict[str, Item]] | None:
        """Return the items of a mapped part; None where what they are taken from is not known yet."""
        sources = part.conduct.sources().values()
        if any(isinstance(source, str) and source not in self._artifacts for source in sources):
            return None
        return items_there(part, self._artifacts, self._store, self._root)[0]

    def _anew_words(self, part: Part) -> list[str]:
        needs = self._plan.system.needs[part.name]
        return [word for word, need in needs.items() if need not in self._artifacts]

    def _verdict(self, node: Node) -> Verdict:
        part, plan, store = node.part, self._plan, self._store
        needs = plan.system.needs[part.name]
        anew = self._anew_words(part)
        inputs = taken_by(node, plan.system, self._artifacts)
        digests = inputs_of(node, plan.system, self._artifacts)
        made_of, sources, warnings = ingredients_of(
            part,
            code=self._reader,
            settings=plan.settings[part.name],
            inputs={word: digest for word, digest in digests.items() if word not in anew},
            store=store,
            root=self._root,
            items=texts_of(node, self._artifacts, store),
        )
        if not part.CACHED:
            return Verdict(
                step=node.name,
                verdict="always",
                reasons=[f"a {part.ROLE} decides anew in every run"],
                last=_last_run(store, node.name),
                warnings=warnings,
            )
        known = known_outcome(part, key_of(made_of), store=store) if not anew else None
        if known is not None and known.step is not None:
            return Verdict(
                step=node.name,
                verdict="miss" if known.fault else "hit",
                reasons=[known.fault or "nothing changed"],
                last=known.step,
                warnings=warnings,
            )
        last = last_used(store, node.name)
        for name, digest in last.ingredients.items() if last is not None else ():
            if name.removeprefix("input.") in anew or (anew and part.files_of_items() and name.startswith("file.")):
                made_of.setdefault(name, digest)
        found = (
            changes_since(last, made_of, inputs=inputs, sources=sources, ledger=store.ledger)
            if last
            else Changes(["it has never finished"], [])
        )
        waits = bool(anew) and not found.reasons
        if not anew and not found.reasons:
            found = Changes([_UNSURE], [])
        verdicts = self._verdicts
        reasons = [f"{_anew(word, verdicts, plan)}; if it comes out the same, this step does not run" for word in anew]
        return Verdict(
            step=node.name,
            verdict="waits" if waits else "miss",
            reasons=reasons if waits else [_caused(reason, verdicts, plan, part.name) for reason in found.reasons],
            diffs=found.diffs,
            waits_for=[needs[word] for word in anew],
            last=last,
            warnings=warnings,
        )


def ran_because(step: StepRun, *, store: Store) -> Changes:
    """Return why a step ran when it last did: what had changed since the time before."""
    ledger = store.ledger
    ran = _as_it_ran(step, store)
    earlier = ledger.find(StepRun, {"step": step.step, "started_at <": ran.started_at}, order="-started_at", limit=5)
    before = next((other for other in earlier if other.state in ("finished", "cached")), None)
    if before is None or before.key == ran.key:
        return Changes([ran.reason], [])
    found = changes_since(before, ran.ingredients, inputs=ran.inputs, sources={}, ledger=ledger)
    return found if found.reasons else Changes([ran.reason], [])


def why_now(
    name: str,
    made_of: Mapping[str, str],
    *,
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, str],
    store: Store,
) -> str:
    """Return in a line why a step runs now, with its first three causes."""
    last = last_used(store, name)
    if last is None:
        return "first time"
    found = changes_since(last, made_of, inputs=inputs, sources=sources, ledger=store.ledger).reasons
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "") or _UNSURE


def last_used(store: Store, name: str) -> StepRun | None:
    """Return the step as the last run had it, whether it ran then or was known."""
    found = store.ledger.find(StepRun, {"step": name}, order="-started_at", limit=5)
    used = next((step for step in found if step.state in ("finished", "cached")), None)
    return used or (_last_run(store, name) if len(found) == 5 else None)


def _as_it_ran(step: StepRun, store: Store) -> StepRun:
    """Return a step that may have been known as it was in the run that it was taken from."""
    return next(iter(store.ledger.find(StepRun, {"run": step.origin, "step": step.step})), step)


def _last_run(store: Store, name: str) -> StepRun | None:
    found = store.ledger.find(StepRun, {"step": name, "state": "finished"}, order="-started_at", limit=1)
    return found[0] if found else None


def _anew(word: str, verdicts: Mapping[str, Verdict], plan: Plan) -> str:
    giver = verdicts.get(plan.system.producers[word].name) if word in plan.system.producers else None
    return f"{word} is made anew" + (f" ({'; '.join(giver.reasons[:2])})" if giver and giver.verdict == "miss" else "")


def _caused(reason: str, verdicts: Mapping[str, Verdict], plan: Plan, name: str) -> str:
    """Return the sentence on an input with what made it another one."""
    for word, need in plan.system.needs[name].items():
        if reason == f"input {word} changed" or reason.startswith(f"input {word} changed:"):
            giver = verdicts.get(plan.system.producers[need].name)
            if giver is not None and giver.last is not None:
                return f"{reason}; {giver.step} ran since ({giver.last.reason})"
    return reason

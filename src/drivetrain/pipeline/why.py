"""Why a step would run or not: what its key is made of now, beside what it was made of when it last ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from drivetrain.errors import UnknownName
from drivetrain.pipeline.change import Changes, changes_since
from drivetrain.pipeline.code import CodeReader
from drivetrain.pipeline.key import ingredients_of, key_of
from drivetrain.pipeline.known import known_outcome
from drivetrain.pipeline.node import listed_items
from drivetrain.pipeline.run import StepRun

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drivetrain.pipeline.plan import Plan
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store


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


def why(name: str, plan: Plan, *, store: Store | None, root: Path) -> Verdict:
    """Return what the next run would do with the step `name`, without running anything, and why it last ran.

    `store` is None where nothing has run yet.

    Raises:
        UnknownName: no step is called that.
    """
    found = explain_all(plan, store=store, root=root, until=name)
    verdict = found[name] if name in found else found[plan.system.producers[name].name]
    if verdict.last is None or store is None:
        return verdict
    ran = ran_because(verdict.last, store=store)
    return msgspec.structs.replace(verdict, ran_because=ran.reasons, ran_diffs=ran.diffs)


def explain_all(plan: Plan, *, store: Store | None, root: Path, until: str = "") -> dict[str, Verdict]:
    """Return the verdict on each step of a plan, or on `until` and all that it needs."""
    system = plan.system
    if until and until not in plan.steps:
        giver = system.producers.get(until)
        if giver is None or giver.name not in plan.steps:
            raise UnknownName(kind="step", name=until, known=plan.steps)
        until = giver.name
    wanted = system.upstream(until) if until else plan.steps
    if store is None:
        return {name: Verdict(step=name, verdict="miss", reasons=["it has never finished"]) for name in wanted}
    reader = CodeReader(root)
    artifacts: dict[str, Artifact] = {}
    verdicts: dict[str, Verdict] = {}
    for name in wanted:
        part = system.parts[name]
        needs = system.needs[name]
        anew = [word for word, need in needs.items() if need not in artifacts]
        inputs = {word: artifacts[need] for word, need in needs.items() if need in artifacts}
        made_of, sources, warnings = ingredients_of(
            part,
            code=reader,
            settings=plan.settings[name],
            inputs={word: artifact.digest for word, artifact in inputs.items()} | listed_items(part),
            store=store,
            root=root,
        )
        if not part.CACHED:
            verdicts[name] = Verdict(
                step=name,
                verdict="always",
                reasons=[f"a {part.ROLE} decides anew in every run"],
                last=_last_run(store, name),
                warnings=warnings,
            )
            continue
        known = known_outcome(part, key_of(made_of), store=store) if not anew else None
        if known is not None and known.step is not None:
            if not known.fault:
                artifacts |= known.step.outputs
            verdicts[name] = Verdict(
                step=name,
                verdict="miss" if known.fault else "hit",
                reasons=[known.fault or "nothing changed"],
                last=known.step,
                warnings=warnings,
            )
            continue
        last = last_used(store, name)
        for word in anew:
            if last is not None and f"input.{word}" in last.ingredients:
                made_of[f"input.{word}"] = last.ingredients[f"input.{word}"]
        found = (
            changes_since(last, made_of, inputs=inputs, sources=sources, ledger=store.ledger)
            if last
            else Changes(["it has never finished"], [])
        )
        waits = bool(anew) and not found.reasons
        if not anew and not found.reasons:
            found = Changes([_UNSURE], [])
        reasons = [f"{_anew(word, verdicts, plan)}; if it comes out the same, this step does not run" for word in anew]
        verdicts[name] = Verdict(
            step=name,
            verdict="waits" if waits else "miss",
            reasons=reasons if waits else [_caused(reason, verdicts, plan, name) for reason in found.reasons],
            diffs=found.diffs,
            waits_for=[needs[word] for word in anew],
            last=last,
            warnings=warnings,
        )
    return verdicts


def ran_because(step: StepRun, *, store: Store) -> Changes:
    """Return why a step ran when it last did: what had changed since the time before."""
    ledger = store.ledger
    (ran, *_) = ledger.find(StepRun, {"run": step.origin, "step": step.step}) or [step]
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
    return used or _last_run(store, name)


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

"""Why a step would run or not: what its key is made of now, beside what it was made of when it last ran."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.errors import UnknownName
from drivetrain.pipeline.code import CodeReader
from drivetrain.pipeline.key import changes, ingredients_of, key_of
from drivetrain.pipeline.run import StepRun
from drivetrain.pipeline.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.pipeline.plan import Plan
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.store import Store


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the next run would do with a step, and why.

    `diffs` are line diffs of the project code that changed. `waits_for` names inputs that will be made anew, so that
    it cannot be said yet whether this step will run.
    """

    step: str
    verdict: Literal["hit", "miss", "waits", "always"]
    reasons: list[str]
    diffs: list[str] = []
    waits_for: list[str] = []
    last: StepRun | None = None


def why(name: str, plan: Plan, *, store: Store | None, root: Path) -> Verdict:
    """Return what the next run would do with the step `name`, without running anything.

    `store` is None where nothing has run yet.

    Raises:
        UnknownName: no step is called that.
    """
    return explain_all(plan, store=store, root=root, until=name)[name]


def explain_all(plan: Plan, *, store: Store | None, root: Path, until: str = "") -> dict[str, Verdict]:
    """Return the verdict on each step of a plan, or on `until` and all that it needs."""
    system = plan.system
    if until and until not in plan.steps:
        giver = system.producers.get(until)
        if giver is None or giver.name not in plan.steps:
            raise UnknownName(kind="step", name=until, known=plan.steps)
        until = giver.name
    wanted = system.upstream(until) if until else plan.steps
    reader = CodeReader(root)
    artifacts: dict[str, Artifact] = {}
    verdicts: dict[str, Verdict] = {}
    for name in wanted:
        part = system.parts[name]
        needs = system.needs[name]
        last = _last(store, name) if store else None
        anew = [word for word, need in needs.items() if need not in artifacts]
        made_of, sources, _ = ingredients_of(
            part,
            code=reader,
            settings=plan.settings[name],
            inputs={word: artifacts[need].digest for word, need in needs.items() if need in artifacts},
        )
        for word in anew:
            if last is not None and f"input.{word}" in last.ingredients:
                made_of[f"input.{word}"] = last.ingredients[f"input.{word}"]
        found = changes(last.ingredients, made_of) if last else ["it has never finished"]
        diffs = _diffs(store, last, made_of, sources) if store and last else []
        if not part.CACHED:
            verdict = Verdict(
                step=name, verdict="always", reasons=[f"a {part.ROLE} decides anew in every run"], last=last
            )
        elif store and not anew and (known := _finished(store, key_of(made_of))) is not None:
            gone = [output for output, kept in known.outputs.items() if not store.artifacts.has(kept.digest)]
            if gone:
                reasons = [f"the artifact of {output} is gone from the store" for output in gone]
                verdict = Verdict(step=name, verdict="miss", reasons=reasons, last=known)
            else:
                artifacts |= known.outputs
                verdict = Verdict(step=name, verdict="hit", reasons=["nothing changed"], last=known)
        elif anew and not found:
            reasons = [f"{word} is made anew; if it comes out the same, this step does not run" for word in anew]
            verdict = Verdict(step=name, verdict="waits", reasons=reasons, waits_for=anew, last=last)
        else:
            verdict = Verdict(step=name, verdict="miss", reasons=found, diffs=diffs, waits_for=anew, last=last)
        verdicts[name] = verdict
    if until and until not in verdicts:
        raise UnknownName(kind="step", name=until, known=list(verdicts))
    return verdicts


def _last(store: Store, name: str) -> StepRun | None:
    found = store.ledger.find(StepRun, {"step": name, "state": "finished"}, order="-started_at", limit=1)
    return found[0] if found else None


def _finished(store: Store, key: str) -> StepRun | None:
    found = store.ledger.find(StepRun, {"key": key, "state": "finished"}, order="-started_at", limit=1)
    return found[0] if found else None


def _diffs(store: Store, last: StepRun, made_of: dict[str, str], sources: dict[str, str]) -> list[str]:
    shown = []
    for name, digest in made_of.items():
        before: Any = last.ingredients.get(name)
        if not name.startswith("code.") or before in (None, digest):
            continue
        old = store.ledger.get(Source, before)
        if old is not None:
            label = name.removeprefix("code.")
            lines = unified_diff(
                old.text.splitlines(),
                sources[digest].splitlines(),
                f"{label} as it ran",
                f"{label} now",
                lineterm="",
                n=1,
            )
            shown.append("\n".join(lines))
    return shown

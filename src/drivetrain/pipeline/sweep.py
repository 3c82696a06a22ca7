"""A sweep: one run for each combination of settings, on one store, where what they share runs once."""

from __future__ import annotations

import os
import threading
from itertools import product
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import DrivetrainError, UsageError
from drivetrain.pipeline.budget import Budget
from drivetrain.pipeline.engine import Execution
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.plan import make_plan
from drivetrain.pipeline.steplog import captured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from drivetrain.pipeline.plan import Plan
    from drivetrain.store.store import Store
    from drivetrain.system.system import System

# A sweep of more runs than this is a slip of the pen.
MOST_RUNS = 10_000
# These judge one run, and ask people about it; a sweep compares runs, and the best is run again.
LEFT_OUT = ("gate", "approval")


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One combination of a sweep and what came of it: its metrics, or why it failed."""

    settings: dict[str, Any]
    run: str
    state: str
    metrics: dict[str, float | None] = {}
    error: str = ""
    # How many steps ran, and how many were known.
    ran: int = 0
    known: int = 0
    seconds: float = 0.0


def parse_sweep(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return each combination of the values in texts such as `part.setting=1,2`; a value is JSON, or else text.

    >>> parse_sweep(["lateness.depth=3,5", "flights.until=2013-07"])
    [{'lateness.depth': 3, 'flights.until': '2013-07'}, {'lateness.depth': 5, 'flights.until': '2013-07'}]

    Raises:
        UsageError: one is no such text, or they give too many combinations.
    """
    values: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        if not equals or "." not in name or not listed:
            raise UsageError(f"{text!r} is nothing to sweep", remedy="write it as part.setting=value,value")
        if name in values:
            raise UsageError(f"{name} is swept twice", remedy=f"write all of its values once: {name}=value,value")
        values[name] = _values(listed)
    count = 1
    for each in values.values():
        count *= len(each)
    if count > MOST_RUNS:
        raise UsageError(f"that is {count:,} runs", remedy=f"sweep at most {MOST_RUNS:,} combinations at once")
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def plans_of(
    system: System,
    combinations: Sequence[Mapping[str, Any]],
    *,
    targets: Sequence[str] = (),
    without: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> list[Plan]:
    """Return the plan of each combination, without gates and approvals and what depends on them.

    Raises:
        UsageError: no step of the plan has a setting that is swept, or it is set as well.
    """
    left_out = [part.name for part in system.parts.values() if part.ROLE in LEFT_OUT]
    plans = []
    for combination in combinations:
        if twice := combination.keys() & (settings or {}).keys():
            raise UsageError(f"{min(twice)} is both swept and set", remedy="name it only once")
        plan = make_plan(
            system, targets=targets, without=[*without, *left_out], settings=dict(settings or {}) | dict(combination)
        )
        for name in combination:
            if name.partition(".")[0] not in plan.steps:
                raise UsageError(
                    f"{name} is swept, and {name.partition('.')[0]!r} is no step of these runs",
                    remedy="sweep what runs, or run more parts",
                )
        plans.append(plan)
    return plans


def sweep(
    plans: Sequence[Plan],
    combinations: Sequence[dict[str, Any]],
    *,
    store: Store,
    root: Path,
    reason: str,
    workers: int = 0,
    began: Callable[[str], None],
    ended: Callable[[Trial], None],
) -> list[Trial]:
    """Carry all plans out, some at once, and return what came of each, in order.

    `began` is told the id of each run before it begins, and `ended` of each that is over. A run that fails does not
    stop the others. Processors are divided among the runs; where a step asks for memory or a GPU, they run one by one.
    """
    budget = Budget(cpu=workers or os.cpu_count() or 1)
    lanes = _lanes(plans, budget)
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(plans)):
        waiting.put(number)
    found: SimpleQueue[tuple[int, Trial | BaseException]] = SimpleQueue()

    def work() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except Empty:
                return
            try:
                share = Budget(cpu=max(1, budget.cpu // lanes), memory_gib=budget.memory_gib, gpus=budget.gpus)
                told = f"{reason}: {named(combinations[number])}"
                execution = Execution(plans[number], store=store, root=root, reason=told, budget=share)
                began(execution.run.id)
                found.put((number, _tried(execution, combinations[number])))
            except BaseException as error:
                found.put((number, error))

    trials: dict[int, Trial] = {}
    with captured():
        for lane in range(lanes):
            threading.Thread(target=work, name=f"drivetrain-sweep-{lane}", daemon=True).start()
        while len(trials) < len(plans):
            number, outcome = found.get()
            if isinstance(outcome, BaseException):
                raise outcome
            trials[number] = outcome
            ended(outcome)
    return [trials[number] for number in sorted(trials)]


def ranked(trials: Sequence[Trial], by: str, *, least_first: bool = False) -> list[Trial]:
    """Return trials with the best by a metric first; those without it come last, in their order."""

    def place(trial: Trial) -> tuple[bool, float]:
        value = trial.metrics.get(by)
        return (True, 0.0) if value is None or value != value else (False, value if least_first else -value)

    return sorted(trials, key=place)


def named(settings: Mapping[str, Any]) -> str:
    """Return settings as one types them.

    >>> named({"lateness.depth": 3, "flights.until": "2013-07"})
    'lateness.depth=3 flights.until=2013-07'
    """
    return " ".join(
        f"{name}={value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for name, value in settings.items()
    )


def _tried(execution: Execution, settings: dict[str, Any]) -> Trial:
    error = ""
    try:
        execution.execute()
    except DrivetrainError as failure:
        error = f"{failure.message.splitlines()[0]}"
    run, steps = execution.run, [step for step in execution.steps.values() if not step.parent]
    metrics: dict[str, float | None] = {
        f"{step.step}.{name}": value
        for step in steps
        for output in step.outputs.values()
        for name, value in output.detail.get("metrics", {}).items()
    }
    logged = execution.store.ledger.find(Figure, {"run": run.id, "kind": "metric"})
    return Trial(
        settings=settings,
        run=run.id,
        state=run.state,
        metrics=metrics | {figure.name: figure.value for figure in logged if figure.name not in metrics},
        error=error,
        ran=sum(step.state == "finished" for step in steps),
        known=sum(step.state == "cached" for step in steps),
        seconds=(run.finished_at - run.started_at).total_seconds() if run.finished_at else 0.0,
    )


def _lanes(plans: Sequence[Plan], budget: Budget) -> int:
    """Return how many runs go on at once."""
    conducts = [plan.system.parts[name].conduct for plan in plans[:1] for name in plan.steps]
    if any(conduct.memory_gib is not None or conduct.gpu for conduct in conducts):
        return 1
    most = max((conduct.cpu for conduct in conducts), default=1)
    return max(1, min(len(plans), int(budget.cpu // max(most, 1))))


def _values(text: str) -> list[Any]:
    try:
        found: list[Any] = msgspec.json.decode(f"[{text}]")
    except msgspec.DecodeError:
        return [_value(each) for each in text.split(",")]
    return found


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text

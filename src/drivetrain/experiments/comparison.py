"""Runs side by side: only what differs, and the curves over each other."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import UsageError
from drivetrain.experiments.remark import run_named, tags_of
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.points import points_of
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.pipeline.source import Source
from drivetrain.registry.version import Version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.store.ledger import Ledger

MOST_RUNS = 12
MOST_CURVES = 40
# A curve with more points is thinned out.
MOST_POINTS = 400


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Something in which the runs differ: one value a run, None where a run has none."""

    name: str
    values: list[Any]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The rows in which the runs differ, and how many they agree on."""

    differing: list[Row]
    same: int


class CodeChange(msgspec.Struct, frozen=True, kw_only=True):
    """A function that is another one than in the first run, as a line diff; empty where its text was not kept."""

    name: str
    run: str
    diff: str


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """The points `(step, value)` of one metric, a list a run."""

    name: str
    lines: list[list[tuple[int, float]]]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs, with what people call it."""

    run: Run
    seconds: float | None
    tags: list[str]
    versions: list[str]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Runs side by side; the first is the one that the others are compared with."""

    sides: list[Side]
    settings: Table
    metrics: Table
    data: Table
    packages: Table
    environment: Table
    code: list[CodeChange]
    curves: list[Curves]


def compare(ledger: Ledger, names: Sequence[str]) -> Comparison:
    """Return runs side by side; a name is a run's id, `latest`, or a version's id for the run that trained it.

    Raises:
        NotFound: there is no such run.
        UsageError: fewer than two are named, or too many.
    """
    runs = list({run.id: run for run in (run_named(ledger, name) for name in names)}.values())
    if not 2 <= len(runs) <= MOST_RUNS:
        raise UsageError(
            f"{len(runs)} runs are named, and 2 to {MOST_RUNS} can be compared",
            remedy="name some more, such as `drivetrain compare RUN latest`" if len(runs) < 2 else "leave some out",
        )
    steps = [ledger.find(StepRun, {"run": run.id}) for run in runs]
    metrics = [
        {each.name: each for each in ledger.find(Figure, {"run": run.id, "kind": "metric"})} for run in runs
    ]  # fmt: skip
    packages = [_ingredients(each, "package.") for each in steps]
    return Comparison(
        sides=[_side(ledger, run) for run in runs],
        settings=_table([_settings(run) for run in runs]),
        metrics=_table([{name: each.value for name, each in figures.items()} for figures in metrics]),
        data=_table([_data(each) for each in steps]),
        packages=_table(packages),
        environment=_table([_environment(run, known) for run, known in zip(runs, packages, strict=True)]),
        code=_code(ledger, runs, [_ingredients(each, "code.") for each in steps]),
        curves=_curves(ledger, metrics),
    )


def _side(ledger: Ledger, run: Run) -> Side:
    return Side(
        run=run,
        seconds=(run.finished_at - run.started_at).total_seconds() if run.finished_at else None,
        tags=tags_of(ledger, run.id)[run.id],
        versions=[version.id for version in ledger.find(Version, {"run": run.id})],
    )


def _table(values: Sequence[Mapping[str, Any]]) -> Table:
    names = dict.fromkeys(name for each in values for name in each)
    rows = [Row(name=name, values=[each.get(name) for each in values]) for name in names]
    differing = [row for row in rows if any(value != row.values[0] for value in row.values)]
    return Table(differing=differing, same=len(rows) - len(differing))


def _settings(run: Run) -> dict[str, Any]:
    return {f"{part}.{name}": value for part, values in run.settings.items() for name, value in values.items()}


def _data(steps: Sequence[StepRun]) -> dict[str, Any]:
    """Return the datasets that a run read, each with its digest and rows."""
    return {
        name: {"digest": artifact.digest, "rows": artifact.rows}
        for step in steps
        if step.role == "dataset"
        for name, artifact in step.outputs.items()
    }


def _environment(run: Run, packages: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"commit": run.commit} if run.commit else {}
    if run.dirty_diff:
        found["not committed"] = run.dirty_diff
    return found | {name: value for name, value in run.environment.items() if name not in packages}


def _ingredients(steps: Sequence[StepRun], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): value
        for step in steps
        for name, value in step.ingredients.items()
        if name.startswith(prefix)
    }


def _code(ledger: Ledger, runs: Sequence[Run], code: Sequence[Mapping[str, str]]) -> list[CodeChange]:
    found = []
    for run, theirs in zip(runs[1:], code[1:], strict=True):
        for name in sorted(set(code[0]) & set(theirs)):
            if code[0][name] == theirs[name]:
                continue
            before, after = ledger.get(Source, code[0][name]), ledger.get(Source, theirs[name])
            lines = (
                unified_diff(
                    before.text.splitlines(), after.text.splitlines(), f"{name} in {runs[0].id}", f"{name} in {run.id}",
                    lineterm="", n=2,
                )
                if before and after
                else ()
            )  # fmt: skip
            found.append(CodeChange(name=name, run=run.id, diff="\n".join(lines)))
    return found


def _curves(ledger: Ledger, metrics: Sequence[Mapping[str, Figure]]) -> list[Curves]:
    found = []
    for name in dict.fromkeys(name for figures in metrics for name in figures):
        numbers = [figures[name].curve if name in figures else None for figures in metrics]
        lines = [[] if number is None else points_of(ledger, number, most=MOST_POINTS) for number in numbers]
        if any(len(line) > 1 for line in lines):
            found.append(Curves(name=name, lines=lines))
        if len(found) == MOST_CURVES:
            break
    return found

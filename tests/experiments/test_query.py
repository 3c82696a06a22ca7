"""Filters against a plain evaluation in Python, over runs that are drawn at random."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.errors import BadFilter, DrivetrainError
from drivetrain.experiments import query
from drivetrain.experiments.query import figures_of, search
from drivetrain.experiments.remark import note, tag
from drivetrain.pipeline.figure import Figure, settings_of
from drivetrain.pipeline.run import Run
from drivetrain.store.record import now
from drivetrain.store.store import Store

START = datetime(2026, 11, 1, tzinfo=UTC)
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
Holds = Callable[[dict[str, Any]], bool]

NUMBERS = st.sampled_from([-1.0, 0.0, 0.5, 0.7, 1.0, 2.0, float("inf")])
ONE = st.fixed_dictionaries(
    {
        "auc": st.none() | NUMBERS,
        "depth": st.none() | NUMBERS | st.sampled_from(["deep", "flat", "0.5", 'it\'s "odd" % _']),
        "state": st.sampled_from(["finished", "failed", "interrupted"]),
        "commit": st.sampled_from(["", "abc1", "abd2", "0.5"]),
        "reason": st.sampled_from(["by hand", "Drift of Humidity", "'; DROP TABLE run; --", "100 %"]),
        "day": st.integers(0, 9),
        "seconds": st.sampled_from([1, 60, 7200]),
        "tags": st.sets(st.sampled_from(["best", "base", "b"])),
    }
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def number_of(name: str, key: str) -> st.SearchStrategy[tuple[str, Holds]]:
    def made(operator: str, limit: float) -> tuple[str, Holds]:
        def holds(run: dict[str, Any]) -> bool:
            return isinstance(run[key], float) and OPERATORS[operator](run[key], limit)

        return f"{name} {operator} {limit!r}", holds

    return st.builds(made, st.sampled_from(list(OPERATORS)), NUMBERS)


def text_of(name: str, key: str, values: list[str], operators: list[str]) -> st.SearchStrategy[tuple[str, Holds]]:
    def made(operator: str, value: str) -> tuple[str, Holds]:
        def holds(run: dict[str, Any]) -> bool:
            found = run[key]
            if not isinstance(found, str):
                return False
            is_in = value.lower() in found.lower()
            return is_in if operator == "~" else not is_in if operator == "!~" else OPERATORS[operator](found, value)

        return f"{name} {operator} {quoted(value)}", holds

    return st.builds(made, st.sampled_from(operators), st.sampled_from(values))


def of_tag(operator: str, value: str) -> tuple[str, Holds]:
    return f"tag {operator} {value}", lambda run: (value in run["tags"]) == (operator == "=")


def of_commit(operator: str, value: str) -> tuple[str, Holds]:
    return f"commit {operator} {value}", lambda run: run["commit"].startswith(value) == (operator == "=")


def of_day(operator: str, day: int) -> tuple[str, Holds]:
    return f"started {operator} 2026-11-{day + 1:02}", lambda run: OPERATORS[operator](run["day"], day)


def of_time(operator: str, seconds: int) -> tuple[str, Holds]:
    return f"took {operator} {seconds}s", lambda run: OPERATORS[operator](run["seconds"], seconds)


LEAVES = st.one_of(
    number_of("quality.auc", "auc"),
    number_of("lateness.depth", "depth"),
    text_of("lateness.depth", "depth", ["deep", "flat", "0.5", 'it\'s "odd" % _'], list(OPERATORS)),
    text_of("lateness.depth", "depth", ["EEP", "%", "_"], ["~", "!~"]),
    text_of("reason", "reason", ["by hand", "'; DROP TABLE run; --", "100 %"], ["=", "!="]),
    text_of("reason", "reason", ["humid", "%", "'", "_"], ["~", "!~"]),
    text_of("state", "state", ["finished", "failed"], ["=", "!="]),
    st.builds(of_tag, st.sampled_from(["=", "!="]), st.sampled_from(["best", "b", "other"])),
    st.builds(of_commit, st.sampled_from(["=", "!="]), st.sampled_from(["ab", "abc1", "0.5"])),
    st.builds(of_day, st.sampled_from(list(OPERATORS)), st.integers(0, 9)),
    st.builds(of_time, st.sampled_from(["<", ">"]), st.sampled_from([10, 100])),
)


def joined(children: st.SearchStrategy[tuple[str, Holds]]) -> st.SearchStrategy[tuple[str, Holds]]:
    def both(a: tuple[str, Holds], b: tuple[str, Holds]) -> tuple[str, Holds]:
        return f"({a[0]} and {b[0]})", lambda run: a[1](run) and b[1](run)

    def either(a: tuple[str, Holds], b: tuple[str, Holds]) -> tuple[str, Holds]:
        return f"({a[0]} OR {b[0]})", lambda run: a[1](run) or b[1](run)

    def opposite(a: tuple[str, Holds]) -> tuple[str, Holds]:
        return f"not {a[0]}", lambda run: not a[1](run)

    return st.builds(both, children, children) | st.builds(either, children, children) | st.builds(opposite, children)


def keep(store: Store, runs: list[dict[str, Any]]) -> None:
    for number, each in enumerate(runs):
        started = START + timedelta(days=each["day"])
        run = Run(
            id=f"run-{number:03}", system="flights", state=each["state"], started_at=started,
            finished_at=started + timedelta(seconds=each["seconds"]), reason=each["reason"], commit=each["commit"],
            settings={} if each["depth"] is None else {"lateness": {"depth": each["depth"]}},
        )  # fmt: skip
        auc = Figure(run=run.id, kind="metric", name="quality.auc", step="quality", value=each["auc"])
        store.ledger.write(run, *settings_of(run), *([auc] if each["auc"] is not None else []))
        tag(store.ledger, run.id, each["tags"], actor="ann") if each["tags"] else None
    # Names that a filter asks for exist, also where no drawn run has them.
    other = Figure(run="", kind="metric", name="quality.auc", step="quality", value=0.0)
    store.ledger.write(other, Figure(run="", kind="setting", name="lateness.depth", step="lateness", value=0.0))


@settings(max_examples=80, deadline=None)
@given(runs=st.lists(ONE, max_size=6), made=st.recursive(LEAVES, joined, max_leaves=6))
def test_a_filter_finds_what_a_plain_evaluation_finds(runs: list[dict[str, Any]], made: tuple[str, Holds]) -> None:
    text, holds = made
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder))
        keep(store, runs)
        found = [run.id for run in search(store.ledger, text, sort="id", limit=100).runs]
        store.close()

    assert found == [f"run-{number:03}" for number, run in enumerate(runs) if holds(run)]


@settings(max_examples=25, deadline=None)
@given(runs=st.lists(ONE, max_size=8), limit=st.integers(1, 8), few=st.sampled_from([0, 1000]))
def test_runs_are_sorted_by_a_figure_and_those_without_it_come_last(
    runs: list[dict[str, Any]], limit: int, few: int
) -> None:
    with patch.object(query, "FEW", few), tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder))
        keep(store, runs)
        found = search(store.ledger, sort="-quality.auc", limit=limit).runs
        shown = figures_of(store.ledger, [run.id for run in found], search(store.ledger, sort="-quality.auc").names)
        store.close()

    values = [next(iter(shown[run.id].values()), None) for run in found]
    known = sorted((run["auc"] for run in runs if run["auc"] is not None), reverse=True)
    assert values == (known + [None] * len(runs))[: min(limit, len(runs))]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60) | st.text(alphabet="()<>=~!'\" andortgs.\\%_;-", max_size=60))
def test_whatever_is_typed_is_answered_or_refused_with_a_place(hostile: Store, text: str) -> None:
    refusal = None
    try:
        search(hostile.ledger, text)
    except BadFilter as error:
        refusal = error
    assert refusal is None or (0 <= refusal.start <= len(refusal.filter) and "^" in str(refusal))
    assert len(hostile.ledger.find(Run)) == 1


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.open(tmp_path_factory.mktemp("hostile"))
    keep(store, [{"auc": 0.7, "depth": 3.0, "state": "finished", "commit": "abc", "reason": "by hand", "day": 1,
                  "seconds": 1, "tags": {"best"}}])  # fmt: skip
    return store


@pytest.mark.parametrize(
    ("text", "pointed", "right"),
    [
        ("quality.acu > 0.7", "quality.acu", "did you mean quality.auc?"),
        ("auc > 0.7", "auc", "write it with its step: quality.auc"),
        ("state = finisht", "finisht", "did you mean finished?"),
        ("quality.auc > high", "high", "write a number"),
        ("quality.auc > 0.7 and", "^", "begin with a name"),
        ("quality.auc 0.7", "0.7", "the operators are"),
        ("(quality.auc > 0.7", "(", "close it with )"),
        ("quality.auc > 0.7) or tag = best", ")", "join comparisons"),
        ('reason ~ "drift', '"drift', "close it with the same quote"),
        ("reason < hand", "reason", "use =, != or ~"),
        ("started > yesterday", "yesterday", "how long ago: 90min"),
        ("took < soon", "soon", "10s"),
        ("min(quality.auc) ~ a", "a", "write a number"),
        ("tag = best; drop", "drop", "join comparisons"),
    ],
)
def test_a_refusal_points_at_the_place(hostile: Store, text: str, pointed: str, right: str) -> None:
    with pytest.raises(BadFilter) as caught:
        search(hostile.ledger, text)

    error = caught.value
    assert error.filter[error.start : error.start + error.length].startswith(pointed) or error.start == len(text)
    assert right in error.remedy
    _, line, carets = error.message.splitlines()
    assert carets.index("^") == error.start + 2
    assert line.strip() == text


def test_a_filter_is_neither_too_long_nor_too_deep(hostile: Store) -> None:
    for text in ("(" * 1900, "not " * 400 + "tag = best", "x" * 3000):
        with pytest.raises(BadFilter):
            search(hostile.ledger, text)


def test_a_metric_and_a_setting_of_one_name_are_told_apart(tmp_path: Path) -> None:
    ledger = Store.open(tmp_path).ledger
    ledger.write(
        Run(id="run-1", system="", state="finished", started_at=now()),
        Figure(run="run-1", kind="metric", name="fit.rate", value=0.1, low=0.01, high=0.5),
        Figure(run="run-1", kind="setting", name="fit.rate", value=0.3),
    )

    with pytest.raises(BadFilter, match="a metric and a setting"):
        search(ledger, "fit.rate = 0.1")
    assert search(ledger, "metric:fit.rate = 0.1 and setting:fit.rate = 0.3").runs
    assert search(ledger, "min(metric:fit.rate) < 0.05 and max(metric:fit.rate) >= 0.5").runs
    assert not search(ledger, "setting:fit.rate = 0.1").runs


def test_notes_are_searched_and_tags_can_be_taken_off(hostile: Store) -> None:
    note(hostile.ledger, "run-000", "the one for Ben", actor="ann")
    tag(hostile.ledger, "run-000", ["old"], actor="ann")
    tag(hostile.ledger, "run-000", ["old"], actor="ben", is_on=False)

    assert search(hostile.ledger, 'note ~ "for ben"').runs
    assert not search(hostile.ledger, "tag = old").runs
    with pytest.raises(DrivetrainError, match="cannot be a tag"):
        tag(hostile.ledger, "run-000", ["two words"], actor="ann")

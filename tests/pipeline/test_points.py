from __future__ import annotations

import contextvars
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.project import Project

import drivetrain as dt
from drivetrain.errors import StoreUnavailable, UsageError
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.log import CURRENT
from drivetrain.pipeline.points import Points, points_of
from drivetrain.store.store import Store
from drivetrain.system.part import Job


class Step:
    """A step that runs: what it logs goes into a store of its own."""

    def __init__(self, root: Path, run: str = "run-1", name: str = "fit") -> None:
        self.store, self.run = Store.open(root), run
        self.points = Points(cast("Job", self), name)

    def log(self, name: str, value: float, step: int | None = None) -> None:
        self.points.log(name, value, step)

    def figure(self, name: str) -> Figure:
        found = self.store.ledger.get(Figure, self.run, "metric", f"fit.{name}")
        assert found is not None
        return found

    def curve(self, name: str, most: int = 0) -> list[tuple[int, float]]:
        number = self.figure(name).curve
        assert number is not None
        return points_of(self.store.ledger, number, most=most)


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    made = Step(tmp_path)
    with running(made):
        yield made
    made.points.close()


@contextmanager
def running(step: Step) -> Iterator[None]:
    token = CURRENT.set(cast("Job", step))
    try:
        yield
    finally:
        CURRENT.reset(token)


def test_points_are_counted_on_where_no_step_is_given(step: Step) -> None:
    for value in (3.0, 1.0, 2.0):
        dt.log("loss", value)
    dt.log("loss", 5.0, step=10)
    dt.log("loss", 4.0)
    dt.log({"loss": 4.5, "accuracy": 0.9}, step=11)
    step.points.flush()

    assert step.curve("loss") == [(0, 3.0), (1, 1.0), (2, 2.0), (10, 5.0), (11, 4.5)]
    assert step.curve("accuracy") == [(11, 0.9)]
    figure = step.figure("loss")
    assert (figure.value, figure.low, figure.high) == (4.5, 1.0, 5.0)


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(st.tuples(st.sampled_from("ab"), st.integers(-3, 9), st.floats(width=32)), max_size=40),
    cuts=st.sets(st.integers(0, 40), max_size=4),
)
def test_every_point_is_kept_wherever_it_is_flushed(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[str, int, float]], cuts: set[int]
) -> None:
    step = Step(tmp_path_factory.mktemp("points"))
    wanted: dict[str, dict[int, float]] = {}
    for number, (name, at, value) in enumerate(points):
        step.points.log(name, value, at)
        wanted.setdefault(name, {})[at] = value
        if number in cuts:
            step.points.flush()
    step.points.close()

    for name, curve in wanted.items():
        found = step.curve(name)
        assert [at for at, _ in found] == sorted(curve)
        assert all(value == curve[at] or (math.isnan(value) and math.isnan(curve[at])) for at, value in found)
        last = curve[max(curve)]
        assert step.figure(name).value == (None if math.isnan(last) else last)
    step.store.close()


def test_whatever_is_a_number_can_be_logged(step: Step) -> None:
    for value in (1, True, np.float32(0.5), np.int64(3), np.array(2.5), np.array([7.0]), Decimal("0.25"), math.inf):
        dt.log("any", value)  # type: ignore[arg-type]  # as users do
    dt.log("none", math.nan)
    step.points.flush()

    assert [value for _, value in step.curve("any")] == [1.0, 1.0, 0.5, 3.0, 2.5, 7.0, 0.25, math.inf]
    assert math.isnan(step.curve("none")[0][1])
    assert step.figure("none").value is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: dt.log("loss", "0.3"), "'loss' was logged as '0.3', which is not a number"),  # type: ignore[arg-type]
        (lambda: dt.log("loss"), "'loss' was logged as None"),
        (lambda: dt.log("loss", np.zeros(3)), "which is not a number"),  # type: ignore[arg-type]
        (lambda: dt.log("loss", 10**400), "which is not a number"),
        (lambda: dt.log({"loss": {"a": 1}}), "which is not a number"),  # type: ignore[dict-item]
        (lambda: dt.log({"loss": 1.0}, 3), "a step is a keyword"),
        (lambda: dt.log("", 1.0), "the name of a metric is empty"),
        (lambda: dt.log(7, 1.0), "the name of a metric is a int"),  # type: ignore[arg-type]
        (lambda: dt.log("x" * 201, 1.0), "201 characters long"),
        (lambda: dt.log("a\nb", 1.0), "characters that cannot be shown"),
        (lambda: dt.log("\ud800", 1.0), "characters that cannot be shown"),
        (lambda: dt.log("loss", 1.0, step=1.5), "not a whole number"),  # type: ignore[arg-type]
        (lambda: dt.log("loss", 1.0, step=1 << 63), "not a whole number"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value.__code__.co_firstlineno),
)
def test_what_cannot_be_logged_is_refused_and_says_where(step: Step, call: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()

    assert said in str(caught.value)
    assert caught.value.place is not None
    assert caught.value.place.file == __file__


def test_running_steps_are_written_every_second(step: Step) -> None:
    dt.log("loss", 0.5)
    patience = time.monotonic() + 20
    while not step.store.ledger.find(Figure) and time.monotonic() < patience:
        time.sleep(0.05)

    assert step.curve("loss") == [(0, 0.5)]


def test_threads_log_beside_each_other_and_no_point_is_lost(step: Step) -> None:
    def work() -> None:
        for _ in range(2000):
            dt.log("shared", 1.0)
            dt.log(threading.current_thread().name, 1.0)

    threads = [threading.Thread(target=work, name=f"t{number}") for number in range(3)]
    threads.append(threading.Thread(target=contextvars.copy_context().run, args=(work,), name="t3"))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    step.points.flush()

    assert len(step.curve("shared")) == 8000
    assert all(len(step.curve(thread.name)) == 2000 for thread in threads)


def test_a_thread_that_may_belong_to_two_steps_is_told_so(step: Step, tmp_path: Path) -> None:
    other = Step(tmp_path / "other")
    caught: list[UsageError] = []

    def work() -> None:
        try:
            dt.log("loss", 1.0)
        except UsageError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    other.points.close()

    assert "copy_context" in caught[0].remedy


def test_a_point_after_the_end_or_in_another_process_is_refused(tmp_path: Path) -> None:
    step = Step(tmp_path)
    step.log("loss", 1.0)
    if (child := os.fork()) == 0:
        try:
            step.log("loss", 2.0)
        except UsageError as error:
            os._exit(0 if "a process that it started" in str(error) else 1)
        os._exit(2)
    _, status = os.waitpid(child, 0)
    step.points.close()

    assert os.waitstatus_to_exitcode(status) == 0
    with pytest.raises(UsageError, match="after it had ended"):
        step.log("loss", 3.0)
    assert step.curve("loss") == [(0, 1.0)]


def test_points_wait_while_the_store_cannot_be_written(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise StoreUnavailable("the disk is full")

    dt.log("loss", 1.0)
    with monkeypatch.context() as broken:
        broken.setattr(step.store.ledger, "execute", full)
        with pytest.raises(StoreUnavailable):
            step.points.flush()
    dt.log("loss", 2.0)
    step.points.flush()

    assert step.curve("loss") == [(0, 1.0), (1, 2.0)]


def test_a_step_that_is_tried_again_begins_its_curves_anew(tmp_path: Path) -> None:
    first = Step(tmp_path)
    for value in (1.0, 2.0, 3.0):
        first.log("loss", value)
    first.points.close()
    step = Step(tmp_path)
    step.log("loss", 9.0)
    step.points.close()

    assert step.curve("loss") == [(0, 9.0)]
    assert (step.figure("loss").low, step.figure("loss").high) == (9.0, 9.0)


def test_a_long_curve_is_thinned_out_and_keeps_its_ends_and_peaks(step: Step) -> None:
    for number in range(30_000):
        dt.log("short" if number < 3000 else "long", float(number == 1234))
    step.points.flush()

    short, long = step.curve("short", most=400), step.curve("long", most=400)
    assert len(short) <= 402
    assert (1234, 1.0) in short
    assert (short[0][0], short[-1][0]) == (0, 2999)
    assert len(long) == 400
    assert (long[0][0], long[-1][0]) == (0, 26_999)


def test_a_million_points_can_be_read_with_sqlite_alone(step: Step) -> None:
    for number in range(250_001):
        dt.log("loss", 1 / (number + 1))
    step.points.flush()

    db = sqlite3.connect(step.store.root / "ledger.db")
    (found,) = db.execute(
        "SELECT count(*) FROM point JOIN figure USING (curve) WHERE run = 'run-1' AND name = 'fit.loss'"
    ).fetchone()
    assert found == 250_001


def test_a_run_that_reuses_a_step_has_its_metrics_and_curve(project: Project) -> None:
    project.write(
        "import drivetrain as dt\n\n\n@dt.step\ndef fit(depth: int = 3) -> int:\n"
        "    dt.log({'loss': 0.5})\n    dt.log({'loss': 0.25})\n    return 1\n"
    )
    project.command("run")
    project.command("run")
    (first, second) = project.store().ledger.find(Figure, {"name": "fit.loss"}, order="run")

    assert first.run != second.run
    assert (first.curve, first.value) == (second.curve, second.value)
    found = project.store().ledger.find(Figure, {"kind": "setting", "name": "fit.depth"})
    assert [each.value for each in found] == [3.0, 3.0]


def test_outside_of_a_run_nothing_happens() -> None:
    dt.log("loss", 0.3)
    dt.attach("file", SimpleNamespace())

"""Many runners on one store: each key is computed once, whoever dies, stops or comes back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread

import msgspec
import pytest
from tests.pipeline.plain import Plain
from tests.project import Project

import drivetrain as dt
from drivetrain.pipeline import runner as runners
from drivetrain.pipeline.attempt import file_name, logs_of
from drivetrain.pipeline.claim import claim, commit
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.pipeline.runner import SILENCE_S, Runner, born, host, is_alive, mark_interrupted
from drivetrain.store.record import now

HEAD = "import os\nimport time\nfrom pathlib import Path\n\nimport drivetrain as dt\n\n\n"
HEAD += "def note(word):\n    with open('executed', 'a') as file:\n        file.write(f'{word}\\n')\n\n\n"
# What a dead runner held is another's after so long at most.
TAKEOVER_S = 10.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Plain]:
    made = Plain(tmp_path)
    yield made
    made.store.close()


def wide(steps: int, *, more: str = "") -> str:
    """Return a system of some short steps side by side, and one that joins them."""
    names = [f"s{number}" for number in range(steps)]
    text = HEAD + "".join(
        f"@dt.step\ndef {name}() -> int:\n    note('{name}')\n    time.sleep(0.02)\n    return {number}\n\n\n"
        for number, name in enumerate(names)
    )
    inputs = ", ".join(f"{name}: int" for name in names)
    return text + more + f"@dt.step\ndef total({inputs}) -> int:\n    note('total')\n    return {' + '.join(names)}\n"


def executed(project: Project) -> Counter[str]:
    return Counter((project.root / "executed").read_text().split())


def all_at_once(project: Project, *commands: tuple[str, ...]) -> None:
    """Carry out commands at once; each must end well, and none may ever find the ledger locked."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "drivetrain", *command],
            cwd=project.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    for process in processes:
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert "locked" not in told


@pytest.mark.parametrize("count", [2, 4, 8])
def test_runners_of_one_system_compute_each_key_once(count: int, project: Project) -> None:
    project.write(wide(20))
    all_at_once(project, *[("run",)] * count)
    assert executed(project) == dict.fromkeys([f"s{number}" for number in range(20)] + ["total"], 1)
    ledger = project.store().ledger
    assert [run.state for run in ledger.find(Run)] == ["finished"] * count
    steps = ledger.find(StepRun)
    assert Counter(step.state for step in steps) == {"finished": 21, "cached": 21 * (count - 1)}
    assert len({step.outputs["total"].digest for step in steps if step.step == "total"}) == 1


@pytest.mark.parametrize("count", [2, 4, 8])
def test_runners_of_different_systems_share_what_is_the_same(count: int, project: Project) -> None:
    for number in range(count):
        own = f"@dt.step\ndef own{number}() -> int:\n    note('own{number}')\n    return {number}\n\n\n"
        project.write(wide(10, more=own), f"system{number}.py")
    all_at_once(project, *[("run", "--file", f"system{number}.py") for number in range(count)])
    counted = executed(project)
    assert {f"own{number}": counted[f"own{number}"] for number in range(count)} == {
        f"own{number}": 1 for number in range(count)
    }
    ledger = project.store().ledger
    assert [run.state for run in ledger.find(Run)] == ["finished"] * count
    finished = Counter(step.key for step in ledger.find(StepRun, {"state": "finished"}))
    assert set(finished.values()) == {1}
    assert sum(counted.values()) == len(finished)
    assert len(ledger.find(StepRun)) == 12 * count


def test_short_runs_that_open_and_close_the_store_never_find_it_locked(project: Project) -> None:
    project.write(HEAD + "@dt.step\ndef one(number: int = 0) -> int:\n    note('one')\n    return number\n")
    for number in range(4):
        all_at_once(project, *[("run", "--set", f"one.number={number % 2}")] * 6)
    assert executed(project) == {"one": 2}


LONG = HEAD + (
    "@dt.step\ndef long() -> int:\n    note('long')\n    while not Path('go').exists():\n        time.sleep(0.05)\n"
    "    return os.getppid()\n\n\n@dt.step\ndef after(long: int) -> int:\n    note('after')\n    return long\n"
)


def until(holds: Callable[[], bool], seconds: float = 30) -> float:
    """Wait until something holds, and return the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it did not come about in time"
        time.sleep(0.05)
    return time.monotonic() - began


def starts_of_long(project: Project) -> int:
    path = project.root / "executed"
    return path.read_text().count("long") if path.exists() else 0


@contextmanager
def long_runner(project: Project, starts: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Give a runner that is in the middle of the long step, and the id of the process that does the work."""
    process = project.start("run")
    try:
        until(lambda: starts_of_long(project) == starts)
        (run,) = project.store().ledger.find(Run, {"state": "running"})
        yield process, run.pid
    finally:
        process.kill()
        process.wait()


def test_the_step_of_a_runner_that_was_killed_is_taken_over_in_time(project: Project) -> None:
    project.write(LONG)
    with long_runner(project, starts=1) as (_, worker):
        other = project.start("run")
        until(lambda: len(project.store().ledger.find(Run)) == 2)
        time.sleep(1)
        assert starts_of_long(project) == 1, "it waits"
        os.kill(worker, signal.SIGKILL)
        assert until(lambda: starts_of_long(project) == 2) < TAKEOVER_S
        (project.root / "go").touch()
        assert other.wait(timeout=30) == 0
    assert executed(project) == {"long": 2, "after": 1}
    ledger = project.store().ledger
    assert sorted(run.state for run in ledger.find(Run)) == ["failed", "finished"]
    assert len(ledger.find(StepRun, {"step": "long", "state": "finished"})) == 1


def test_a_runner_that_comes_back_takes_the_outcome_of_the_one_that_took_over(project: Project) -> None:
    project.write(LONG)
    with long_runner(project, starts=1) as (stopped, worker):
        os.kill(worker, signal.SIGSTOP)
        began = time.monotonic()
        other = project.start("run")
        until(lambda: starts_of_long(project) == 2)
        assert SILENCE_S / 2 < time.monotonic() - began < TAKEOVER_S + 2, "it takes a moment to start"
        (project.root / "go").touch()
        assert other.wait(timeout=30) == 0
        os.kill(worker, signal.SIGCONT)
        assert stopped.wait(timeout=30) == 0
    assert executed(project) == {"long": 2, "after": 1}
    ledger = project.store().ledger
    theirs, ours = (ledger.find(StepRun, {"step": "long", "state": state}) for state in ("finished", "cached"))
    assert len(theirs) == len(ours) == 1
    assert ours[0].origin == theirs[0].run != ours[0].run
    assert ours[0].outputs == theirs[0].outputs
    assert [run.state for run in ledger.find(Run)] == ["finished", "finished"]


def test_what_a_zombie_commits_while_the_other_is_at_it_is_refused(project: Project) -> None:
    """Both come to their ends at the same time, and the one that took over is the slower."""
    project.write(
        LONG.replace("    return os.getppid()", "    time.sleep(3 * Path('second').exists())\n    return os.getppid()")
    )
    with long_runner(project, starts=1) as (stopped, worker):
        os.kill(worker, signal.SIGSTOP)
        other = project.start("run")
        until(lambda: starts_of_long(project) == 2)
        os.kill(worker, signal.SIGCONT)
        (project.root / "second").touch()
        (project.root / "go").touch()
        assert other.wait(timeout=30) == stopped.wait(timeout=30) == 0
    finished = project.store().ledger.find(StepRun, {"step": "long", "state": "finished"})
    assert [step.run for step in finished] == [run.id for run in project.store().ledger.find(Run) if run.pid != worker]


# Runners that are told of, and not there.


def forged(lab: Plain, **facts: object) -> StepRun:
    """Write the record of a runner that is at the step `source`, and return the step."""
    lab.run(source)
    (step,) = lab.store.ledger.find(StepRun, {"state": "finished"})
    lab.store.ledger.delete(StepRun, step.run, step.step)
    run = msgspec.structs.replace(lab.store.ledger.find(Run)[0], id="run-other", state="running", finished_at=None)
    there = Runner(run="run-other", host=host(), pid=os.getpid(), born=born(os.getpid()), beat_at=now())
    step = msgspec.structs.replace(step, run="run-other", state="running", outputs={})
    lab.store.ledger.write(run, step, msgspec.structs.replace(there, **facts))
    return step


@dt.step
def source() -> int:
    return 1


def test_a_process_id_that_was_given_to_another_is_not_the_runner(lab: Plain) -> None:
    forged(lab, born="1")
    assert lab.run(source) == {"source": "finished"}
    assert lab.store.ledger.get(Run, "run-other").state == "interrupted"  # type: ignore[union-attr]


@pytest.mark.parametrize("ahead", [timedelta(seconds=-40), timedelta(0), timedelta(seconds=40)])
def test_a_runner_elsewhere_is_gone_when_its_beats_stop_whatever_its_clock_says(lab: Plain, ahead: timedelta) -> None:
    forged(lab, host="elsewhere", beat_at=now() + ahead)
    began = time.monotonic()
    assert lab.run(source) == {"source": "finished"}
    assert SILENCE_S - 1 < time.monotonic() - began < TAKEOVER_S


@pytest.mark.parametrize("ahead", [timedelta(days=-1), timedelta(days=1)])
def test_a_beat_of_another_day_is_no_sign_of_life(lab: Plain, ahead: timedelta) -> None:
    forged(lab, host="elsewhere", beat_at=now() + ahead)
    began = time.monotonic()
    assert lab.run(source) == {"source": "finished"}
    assert time.monotonic() - began < 2


def test_a_runner_elsewhere_that_beats_is_waited_for(lab: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "SILENCE_S", 0.5)
    step = forged(lab, host="elsewhere", beat_at=now())
    ledger = lab.store.ledger
    (there,) = ledger.find(Runner, {"run": "run-other"})

    def work() -> None:
        for _ in range(20):
            time.sleep(0.1)
            ledger.write(msgspec.structs.replace(there, beat_at=now()))
        kept = lab.store.keep(1, part="source")
        commit(ledger, [msgspec.structs.replace(step, state="finished", outputs={"source": kept})])

    thread = Thread(target=work)
    thread.start()
    assert lab.run(source) == {"source": "cached"}
    thread.join()


def test_of_two_that_take_over_at_once_one_does(lab: Plain) -> None:
    step = forged(lab, born="1")
    ledger = lab.store.ledger
    for name in ("run-a", "run-b"):
        ledger.write(Runner(run=name, host=host(), pid=os.getpid(), born=born(os.getpid()), beat_at=now()))
    other = type(lab.store).open(lab.store.root)
    found: list[object] = []

    def take(name: str, store: object) -> None:
        ours = msgspec.structs.replace(step, run=name)
        found.append(claim(ours, source, {}, store=store, anew=False))  # type: ignore[arg-type]

    threads = [Thread(target=take, args=pair) for pair in (("run-a", lab.store), ("run-b", other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["elsewhere", "ours"]

    other_step = msgspec.structs.replace(step, step="other")
    ledger.write(other_step)
    finished = [msgspec.structs.replace(each, state="finished") for each in (step, other_step)]
    assert commit(ledger, finished) == {"source"}
    assert re.match("run-[ab] took it over", ledger.get(StepRun, step.run, "source").error)  # type: ignore[union-attr]
    assert ledger.get(StepRun, step.run, "other").state == "finished"  # type: ignore[union-attr]


def test_a_run_that_is_about_to_begin_is_not_taken_for_dead(lab: Plain) -> None:
    """Its record and its runner's are written at once; whoever looks meanwhile sees both or neither."""
    other = type(lab.store).open(lab.store.root)
    is_over: list[bool] = []

    def look() -> None:
        while not is_over:
            mark_interrupted(other.ledger)

    thread = Thread(target=look)
    thread.start()
    try:
        for number in range(30):
            numbered = type(source)(name=f"source_{number}", place=source.place, function=source.function)
            lab.run(numbered)
    finally:
        is_over.append(True)
        thread.join()
    assert {run.state for run in lab.store.ledger.find(Run)} == {"finished"}


def test_is_alive_of_this_process_and_of_none() -> None:
    mine = Runner(run="run-x", host=host(), pid=os.getpid(), born=born(os.getpid()), beat_at=now() - timedelta(days=9))
    assert is_alive(mine), "however long it has been busy"
    assert not is_alive(None)
    assert not is_alive(msgspec.structs.replace(mine, pid=2**22 + 1))


# Several runs in one process.


def test_runs_of_one_process_overlap_and_each_step_keeps_what_it_printed(lab: Plain) -> None:
    def made(name: str) -> dt.Step:
        @dt.step
        def part(word: str = name) -> str:
            for number in range(20):
                print(word, number)
                time.sleep(0.005)
            return word

        return type(part)(name=name, place=part.place, function=part.function)

    labs = [Plain(lab.folder) for _ in range(6)]
    for each in labs:
        each.store = lab.store
    parts = {number: [made("shared"), made(f"own_{number}")] for number in range(6)}
    out, err = sys.stdout, sys.stderr
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            time.sleep(0.03 * number)
            labs[number].run(*parts[number], workers=2)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (sys.stdout, sys.stderr) == (out, err)
    steps = lab.store.ledger.find(StepRun, {"state": "finished"})
    assert sorted(step.step for step in steps) == [*(f"own_{number}" for number in range(6)), "shared"]
    for step in steps:
        kept = (logs_of(lab.store.root, step.run) / file_name(step.step)).read_text()
        assert kept == "".join(f"{step.step} {number}\n" for number in range(20))

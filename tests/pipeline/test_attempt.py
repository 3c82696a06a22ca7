"""Attempts: tried again when that may help, within limits of time and memory, and with what they print."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.project import Project

import drivetrain as dt
from drivetrain.errors import BadSetting, GiveUp, StepFailed, TryAgain
from drivetrain.pipeline.attempt import file_name, logs_of
from drivetrain.pipeline.budget import Budget
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.testing import Lab

FAILURES: list[Exception] = []


def _fail() -> None:
    if FAILURES:
        raise FAILURES.pop()


@dt.step(retry=dt.Retry(2, wait_s=0.01))
def source() -> int:
    _fail()
    return 1


@pytest.mark.parametrize(
    "passing", [ConnectionError("reset"), TimeoutError(), TryAgain("busy"), ConnectionRefusedError()]
)
def test_what_may_be_over_in_a_moment_is_tried_again(lab: Lab, passing: Exception) -> None:
    FAILURES[:] = [passing]
    step = lab.run(source).step("source")
    assert step.state == "finished"
    assert step.tries == 2
    assert type(passing).__name__ in step.error or str(passing) in step.error


@pytest.mark.parametrize("lasting", [ValueError("no such column"), GiveUp("the account is closed")])
def test_what_will_not_pass_fails_at_once(lab: Lab, lasting: Exception) -> None:
    FAILURES[:] = [lasting]
    with pytest.raises(StepFailed, match=str(lasting)):
        lab.run(source)
    assert lab.last.step("source").tries == 1


def test_patience_ends(lab: Lab) -> None:
    FAILURES[:] = [ConnectionError(f"number {number}") for number in range(4)]
    with pytest.raises(StepFailed, match="number 1"):
        lab.run(source)
    assert lab.last.step("source").tries == 3


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"memory_gib": "4"}, {"retry": -1}, {"cpu": True}, {"retry": "3"}])
def test_options_out_of_range_are_refused_where_they_are_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting) as caught:
        dt.step(**wrong)(lambda: 1)
    assert caught.value.place is not None


def test_a_step_that_the_machine_can_never_run_is_refused_before_anything_runs(lab: Lab) -> None:
    @dt.step
    def first() -> int:
        return 1

    @dt.step(gpu=2)
    def second(first: int) -> int:
        return first

    with pytest.raises(BadSetting, match="there is 1 here"):
        lab.run(first, second, budget=Budget(cpu=2, gpus=1))
    assert lab.store.ledger.find(Run) == []


def test_steps_take_no_more_processors_than_there_are(lab: Lab) -> None:
    at_once: list[int] = []
    running: list[None] = []

    @dt.step(cpu=2, each={"number": list(range(6))})
    def heavy(number: int) -> int:
        running.append(None)
        at_once.append(len(running))
        time.sleep(0.02)
        running.pop()
        return number

    lab.run(heavy, workers=4)
    assert max(at_once) == 2


HEAD = "import os\nimport sys\nimport time\n\nimport polars as pl\n\nimport drivetrain as dt\n\n\n"


def test_a_step_by_itself_gets_and_gives_the_same_as_any_other(project: Project) -> None:
    project.write(
        HEAD + "@dt.step(isolated=True)\ndef table(rows: int = 1_000_000) -> pl.DataFrame:\n"
        "    print('by itself', os.getppid() != 1)\n    return pl.DataFrame({'a': range(rows)})\n\n\n"
        "@dt.step(isolated=True)\ndef total(table: pl.DataFrame) -> int:\n    dt.log('seen', table.height)\n"
        "    return int(table['a'].sum())\n\n\n@dt.step\ndef here(total: int, table: pl.LazyFrame) -> int:\n"
        "    return total + table.collect().height\n"
    )
    assert [step["state"] for step in project.json("run")["steps"]] == ["finished"] * 3
    store = project.store()
    (step,) = store.ledger.find(StepRun, {"step": "here"})
    assert store.value(step.outputs["here"]) == 499_999_500_000 + 1_000_000
    assert (logs_of(store.root, step.run) / file_name("table")).read_text() == "by itself True\n"
    assert not list((store.root / "handover").glob("*/*"))


@pytest.mark.parametrize(
    ("body", "told", "line"),
    [
        ("os._exit(0)", "its process ended with exit code 0", 10),
        ("os.kill(os.getpid(), 11)", "was ended by SIGSEGV", 12),
        ("time.sleep(60)", "it took longer than 1 s", 12),
        ("held = []\n    while True:\n        held.append(bytearray(30_000_000))", "of memory, and may take 0.4", 14),
    ],
)
def test_a_step_by_itself_that_is_ended_fails_alone(project: Project, body: str, told: str, line: int) -> None:
    project.write(
        HEAD + f"@dt.step(timeout_s=1, memory_gib=0.4)\ndef wild() -> int:\n    {body}\n    return 1\n\n\n"
        "@dt.step\ndef tame() -> int:\n    time.sleep(0.3)\n    return 2\n"
    )
    done = project.command("run", check=1)
    assert told in done.stderr
    assert "step 'wild' failed" in done.stderr
    assert any(f"system.py:{number}:" in done.stderr for number in (line, 10, 12, 13)), done.stderr
    store = project.store()
    states = {step.step: step.state for step in store.ledger.find(StepRun)}
    assert states == {"wild": "failed", "tame": "finished"}
    assert [run.state for run in store.ledger.find(Run)] == ["failed"]
    assert project.processes() == []


@pytest.mark.parametrize(
    ("body", "told"),
    [("os._exit(0)", "its process ended with exit code 0"), ("os.kill(os.getpid(), 11)", "was ended by SIGSEGV")],
)
def test_a_step_that_takes_the_interpreter_down_is_named_and_the_run_has_failed(
    project: Project, body: str, told: str
) -> None:
    project.write(HEAD + f"@dt.step\ndef wild() -> int:\n    {body}\n    return 1\n")
    done = project.command("run", check=1)
    assert f"step 'wild' failed: {told}" in done.stderr.replace("its process was", "was")
    assert "system.py:" in done.stderr
    store = project.store()
    assert [step.state for step in store.ledger.find(StepRun)] == ["failed"]
    assert [run.state for run in store.ledger.find(Run)] == ["failed"]


def test_what_a_step_prints_is_kept_and_bounded(project: Project) -> None:
    project.write(
        HEAD + "@dt.step\ndef chatty() -> int:\n    print('first')\n    sys.stdout.buffer.write(b'\\xff\\xfe\\n')\n"
        "    for _ in range(200):\n        print('x' * 99_999)\n    print('last', file=sys.stderr)\n    return 1\n"
    )
    done = project.command("run")
    assert "chatty │ first" in done.stdout
    assert done.stdout.count("│") < 110
    store = project.store()
    (run,) = store.ledger.find(Run)
    kept = (logs_of(store.root, run.id) / file_name("chatty")).read_bytes()
    assert kept.startswith(b"first\n\xff\xfe\n")
    assert kept.endswith(b"last\n")
    assert "bytes are left out here" in kept.decode(errors="replace")
    assert len(kept) < 2 << 20


def test_ctrl_c_ends_a_step_by_itself_too(project: Project) -> None:
    project.write(HEAD + "@dt.step(isolated=True)\ndef slow() -> int:\n    time.sleep(60)\n    return 1\n")
    process = project.start("run")
    _until(lambda: project.store().ledger.find(StepRun, {"state": "running"}) != [])
    time.sleep(0.5)
    process.terminate()
    assert process.wait(timeout=20) == 130
    store = project.store()
    assert [run.state for run in store.ledger.find(Run)] == ["interrupted"]
    assert [step.state for step in store.ledger.find(StepRun)] == ["interrupted"]
    assert project.processes() == []


def test_a_damaged_artifact_is_made_again(lab: Lab) -> None:
    @dt.step
    def rows() -> list[int]:
        return list(range(100))

    @dt.step
    def total(rows: list[int], more: int = 0) -> int:
        return sum(rows) + more

    kept = lab.run(rows, total).step("rows").outputs["rows"]
    path = lab.store.artifacts.path(kept.digest)
    os.chmod(path, 0o644)
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    again = lab.run(rows, total, settings={"total.more": 1})
    again.assert_ran("rows", "total")
    assert again["total"] == 4951


def _until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)

"""Runs: order, parallelism, settings, failures, and what is recorded of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import timedelta

from tests.project import Project

from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.points import points_of
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.security.event import Event, broken_link

HEAD = "import time\n\nimport drivetrain as dt\n\n\n"


def test_steps_that_do_not_need_each_other_run_at_once(project: Project) -> None:
    names = ["a", "b", "c", "d"]
    text = HEAD + "".join(f"@dt.step\ndef {name}() -> int:\n    time.sleep(1)\n    return 1\n\n\n" for name in names)
    project.write(text + "@dt.step\ndef total(a: int, b: int, c: int, d: int) -> int:\n    return a + b + c + d\n")
    project.command("run", "--workers", "4")
    steps = [step for name in names for step in project.store().ledger.find(StepRun, {"step": name})]
    assert len(steps) == 4
    last_begun = max(step.started_at for step in steps)
    assert all(step.started_at + timedelta(seconds=step.seconds) > last_begun for step in steps)
    (total,) = project.store().ledger.find(StepRun, {"step": "total"})
    assert project.store().value(total.outputs["total"]) == 4


def test_a_failure_names_the_step_and_the_users_line_and_keeps_what_finished(project: Project) -> None:
    text = HEAD + (
        "def divide(x):\n    return x / 0\n\n\n@dt.step\ndef good() -> int:\n    return 3\n\n\n"
        "@dt.step\ndef bad(good: int) -> float:\n    return divide(good)\n\n\n"
        "@dt.step\ndef after(bad: float) -> float:\n    return bad\n"
    )
    project.write(text)
    done = project.command("run", check=1)
    assert "step 'bad' failed: ZeroDivisionError: division by zero" in done.stderr
    assert "system.py:7" in done.stderr
    assert "drivetrain/pipeline" not in done.stderr, "no traceback of ours"
    project.write(text.replace("x / 0", "x / 2"))
    steps = {step["step"]: step["state"] for step in project.json("run")["steps"]}
    assert steps == {"good": "cached", "bad": "finished", "after": "finished"}
    states = [run.state for run in project.store().ledger.find(Run, order="started_at")]
    assert states == ["failed", "finished"]


def test_a_failure_shows_the_users_lines_alone_and_a_note_as_remedy(project: Project) -> None:
    text = (
        "import json\n\n"
        + HEAD
        + "@dt.step\ndef bad() -> int:\n    try:\n        return json.loads('x')\n    except ValueError as error:\n"
        "        error.add_note('write it with quotes')\n        raise\n"
    )
    project.write(text)

    told = project.command("run", check=1).stderr

    assert "  → write it with quotes\n" in told
    assert 'File "system.py", line ' in told
    assert "decoder.py" not in told


def test_settings_change_the_key_and_are_checked(project: Project) -> None:
    project.write(HEAD + "@dt.step\ndef depth(levels: int = 2) -> int:\n    return levels\n")
    project.command("run")
    (step,) = project.json("run", "--set", "depth.levels=5")["steps"]
    assert step["settings"] == {"levels": 5}
    assert step["reason"] == "setting levels: 2 → 5"
    assert "did you mean depth.levels?" in project.command("run", "--set", "depth.level=5", check=2).stderr
    assert "its default 2 is int" in project.command("run", "--set", "depth.levels=many", check=2).stderr


def test_a_run_records_where_it_came_from(project: Project) -> None:
    project.write(HEAD + "@dt.step\ndef rows() -> list:\n    return [1, 2]\n")
    for command in (
        ["init", "-q"],
        ["add", "system.py"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=project.root, check=True)
    project.write(HEAD + "@dt.step\ndef rows() -> list:\n    return [1, 2, 3]\n")
    project.command("run", "--reason", "to see")
    store = project.store()
    (run,) = store.ledger.find(Run)
    (step,) = store.ledger.find(StepRun)
    assert len(run.commit) == 40
    assert "+    return [1, 2, 3]" in store.artifacts.get(run.dirty_diff).decode()
    assert run.reason == "to see"
    assert run.environment["python"].startswith("3.")
    assert step.outputs["rows"].rows == 3
    assert step.peak_mib > 1
    assert step.seconds > 0


def test_figures_that_a_step_logs_are_kept_also_when_it_fails(project: Project) -> None:
    project.write(
        HEAD
        + "@dt.step\ndef fit() -> int:\n    for epoch in range(3):\n"
        + "        dt.log('loss', 1 / (epoch + 1), step=epoch)\n"
        "    raise RuntimeError('out of luck')\n"
    )
    project.command("run", check=1)
    ledger = project.store().ledger
    (figure,) = ledger.find(Figure, {"kind": "metric"})
    assert (figure.name, figure.value, figure.low, figure.high) == ("fit.loss", 1 / 3, 1 / 3, 1.0)
    assert figure.curve is not None
    assert points_of(ledger, figure.curve) == [(0, 1.0), (1, 0.5), (2, 1 / 3)]


def test_what_happened_is_in_the_chain_of_events(project: Project) -> None:
    project.write(HEAD + "@dt.step\ndef rows() -> list:\n    return [1]\n")
    project.command("run")
    project.command("run")
    events = project.store().ledger.find(Event, order="number")
    assert [event.kind for event in events] == ["run.finished", "run.finished"]
    assert broken_link(events) is None


def test_a_value_that_no_codec_keeps_is_refused_with_a_remedy(project: Project) -> None:
    project.write(HEAD + "class Thing:\n    pass\n\n\n@dt.step\ndef thing() -> Thing:\n    return Thing()\n")
    done = project.command("run", check=1)
    assert "'thing' returns Thing, which no safe codec can keep" in done.stderr
    assert "allow_pickle = true" in done.stderr


def test_an_interrupted_run_says_how_to_go_on(project: Project) -> None:
    project.write(HEAD + "@dt.step\ndef slow() -> int:\n    time.sleep(30)\n    return 1\n")
    started = subprocess.Popen(
        [sys.executable, "-m", "drivetrain", "run"],
        cwd=project.root,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (project.root / ".drivetrain/ledger.db").exists():
        time.sleep(0.05)
    while time.monotonic() < deadline and not project.store().ledger.find(StepRun, {"state": "running"}):
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, told = started.communicate(timeout=20)
    assert started.returncode == 130
    assert "the same command goes on from there" in told
    assert [run.state for run in project.store().ledger.find(Run)] == ["interrupted"]

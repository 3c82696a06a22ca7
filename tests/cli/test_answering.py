"""`drivetrain logs`, `approve` and `refuse`, while a run waits in a process of its own."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.project import Project

SYSTEM = """
import drivetrain as dt


@dt.step
def figures() -> float:
    print("worked out")
    return 0.5


sign_off = dt.Approval(figures, question="Good enough?")


@dt.step(when=sign_off)
def shipped(figures: float) -> str:
    return "yes"


@dt.step(each={"number": [1, 2]})
def squares(number: int) -> int:
    print("square of", number)
    return number * number
"""


def asked(project: Project) -> list[Any]:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        found: list[Any] = project.json("approve")
        if found:
            return found
    raise AssertionError("the run asked nothing")


@pytest.mark.parametrize(("word", "state"), [("approve", "finished"), ("refuse", "skipped")])
def test_a_run_waits_for_a_word_and_goes_on(project: Project, word: str, state: str) -> None:
    project.write(SYSTEM)
    run = project.start("run")
    (request,) = asked(project)
    listed = project.command("approve").stdout
    assert "sign_off" in listed
    assert "Good enough?" in listed
    told = project.command(word, "sign_off", "--reason", "seen at night", USER="ann").stdout
    assert "seen at night" in told
    assert run.wait(60) == 0
    steps = {step["step"]: step for step in project.json("show", "latest")["steps"]}
    assert steps["shipped"]["state"] == state
    approval = steps["sign_off"]["outputs"]["sign_off"]["detail"]["approval"]
    assert (approval["by"], approval["reason"], approval["request"]) == ("ann", "seen at night", request["id"])
    again = project.command(word, "sign_off", check=2)
    assert "by ann" in again.stderr
    assert project.command("approve").stdout == "Nothing waits for an answer\n"


def test_a_waiting_run_says_which_command_answers(project: Project) -> None:
    project.write(SYSTEM.replace("figures, question", "figures, timeout_s=1, question"))
    told = project.command("run").stdout
    assert "sign_off waits for a person: Good enough?" in told
    assert 'drivetrain approve sign_off --reason "…"' in told


def test_an_approval_that_nobody_asks_for_is_refused_with_the_nearest(project: Project) -> None:
    project.write(SYSTEM)
    run = project.start("run")
    asked(project)
    assert "did you mean sign_off" in project.command("approve", "sing_off", check=2).stderr
    run.kill()
    run.wait()


def test_logs_show_what_steps_printed(project: Project) -> None:
    project.write(
        SYSTEM.replace('sign_off = dt.Approval(figures, question="Good enough?")', "sign_off = None").replace(
            "when=sign_off", ""
        )
    )
    project.command("run")
    assert project.command("logs", "figures").stdout == "worked out\n"
    assert project.command("logs", "squares[2]").stdout == "square of 2\n"
    assert project.command("logs", "squares").stdout.splitlines() == [
        "squares[1] │ square of 1",
        "squares[2] │ square of 2",
    ]
    project.command("run")
    assert project.command("logs", "latest", "figures").stdout == "worked out\n", "it was taken from the first run"
    assert "figures" in project.command("logs", "latest~1", "figures", "--json").stdout
    assert "did you mean figures" in project.command("logs", "figurse", check=2).stderr
    silent = project.command("logs", "shipped")
    assert silent.stdout == ""
    assert "shipped printed nothing" in silent.stderr


def test_a_log_is_followed_until_the_step_ends(project: Project) -> None:
    project.write(
        "import time\n\nimport drivetrain as dt\n\n\n@dt.step\ndef slow() -> int:\n"
        "    for number in range(4):\n        print('at', number)\n        time.sleep(0.5)\n    return 1\n"
    )
    run = project.start("run")
    give_up = time.monotonic() + 60
    while "slow" not in project.command("logs", check=None).stdout and time.monotonic() < give_up:
        pass
    assert project.command("logs", "slow", "--follow").stdout == "at 0\nat 1\nat 2\nat 3\n"
    assert run.wait(60) == 0


def test_a_failure_names_the_log(project: Project) -> None:
    project.write(
        "import drivetrain as dt\n\n\n@dt.step\ndef broken() -> int:\n    print('so far')\n    return 1 // 0\n"
    )
    assert "drivetrain logs broken" in project.command("run", check=1).stderr
    assert project.command("logs", "broken").stdout == "so far\n"

"""The sender against servers whose delays and failures are known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.load.toy import STALL_S, toy

from drivetrain.errors import UsageError
from drivetrain.load.plan import Plan, Target
from drivetrain.load.process import carry_out
from drivetrain.load.report import Report


def sent(url: str, **plan: Any) -> Report:
    return carry_out(Plan(**{"target": Target(url=url), "requests": [b"{}"], "seconds": 1.0, **plan}))


def test_an_open_loop_sees_a_stall_that_a_closed_one_hides() -> None:
    with toy("stalls") as url:
        opened = sent(url, rate=100, connections=100, seconds=3)
    with toy("stalls") as url:
        closed = sent(url, connections=1, seconds=3)

    # A fifth of the requests that were due met the stall; of those that one client sent, a single one.
    assert opened.requests == 300
    assert opened.p99_ms > 0.8 * STALL_S * 1000
    assert opened.p90_ms > 0.3 * STALL_S * 1000
    assert closed.max_ms > 0.5 * STALL_S * 1000
    assert closed.p99_ms < 0.2 * STALL_S * 1000


def test_times_count_from_when_a_request_was_due_also_where_no_connection_is_free() -> None:
    with toy("queue") as url:  # 500 a second at most, and all wait for one connection
        seen = sent(url, rate=1000, connections=1, seconds=1, timeout_s=9)

    assert seen.requests == 1000
    assert seen.failed == 0
    assert seen.max_ms > 500
    assert seen.requests_per_s < 510


def test_errors_are_counted_by_kind() -> None:
    with toy("fails") as url:
        seen = sent(url, rate=100, connections=50, seconds=2, timeout_s=0.5)

    assert seen.requests == 200
    assert {"200", "503", "closed", "malformed", "timeout"} == set(seen.outcomes)
    assert sum(seen.outcomes.values()) == 200
    assert seen.failed == 200 - seen.outcomes["200"]
    assert seen.outcomes["timeout"] == pytest.approx(20, abs=3)
    assert "busy" in seen.examples["503"]
    assert seen.max_ms == pytest.approx(500, abs=150)


@pytest.mark.parametrize("kind", ["chunks", "ends"])
def test_answers_of_every_length_are_read(kind: str) -> None:
    with toy(kind) as url:
        seen = sent(url, connections=2, seconds=0.5)

    assert seen.failed == 0
    assert seen.answered > 20
    assert (seen.connections_opened > seen.answered) == (kind == "ends")


def test_a_replay_keeps_order_and_spacing() -> None:
    moments = [100.0, 100.0, 100.3, 100.4, 101.0]
    bodies = [b'{"number": %d}' % number for number in range(5)]

    with toy("records") as url:
        sent(url, requests=bodies, moments=moments, speed=2, seconds=10)
        told: list[tuple[float, str]] = json.load(urllib.request.urlopen(url.replace("predict", "seen")))

    first = told[0][0]
    assert [body for _, body in told] == [body.decode() for body in bodies]
    assert [moment - first for moment, _ in told] == pytest.approx([0, 0, 0.15, 0.2, 0.5], abs=0.06)


def test_a_rate_is_kept_and_what_is_warm_up_is_left_out() -> None:
    with toy("plain") as url:
        seen = sent(url, rate=200, seconds=1.5, warm_up_s=0.5, connections=32)
        ramped = sent(url, rate=200, seconds=1, ramp_s=1, connections=32)

    assert seen.requests == pytest.approx(300, abs=1)
    assert seen.requests_per_s == pytest.approx(200, rel=0.05)
    assert ramped.requests == pytest.approx(100, abs=1)


def sender_of_this_process() -> int:
    """Return the process that sends for this one."""
    lists = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    children = [pid for each in lists for pid in each.read_text().split()]
    return int(next(pid for pid in children if b"drivetrain.load.process" in Path(f"/proc/{pid}/cmdline").read_bytes()))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the sender in /proc")
def test_a_tool_that_is_late_itself_says_so() -> None:
    with toy("plain") as url:
        found: list[Report] = []
        thread = threading.Thread(target=lambda: found.append(sent(url, rate=200, seconds=1.5)))
        thread.start()
        time.sleep(0.8)
        sender = sender_of_this_process()
        os.kill(sender, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(sender, signal.SIGCONT)
        thread.join()

    (seen,) = found
    assert seen.requests == 300
    assert 200 < seen.late_max_ms < 900
    assert any("the load tool itself was late" in doubt for doubt in seen.doubts())


def test_a_server_that_goes_is_counted_and_not_hammered() -> None:
    with toy("plain") as url:
        found: list[Report] = []
        thread = threading.Thread(target=lambda: found.append(sent(url, connections=4, seconds=1.5)))
        thread.start()
        time.sleep(0.7)
    thread.join()

    (seen,) = found
    assert seen.answered > 100
    assert 4 <= seen.outcomes["refused"] < 200


def test_a_server_that_is_not_there_is_an_error_of_the_asker() -> None:
    with pytest.raises(UsageError, match="cannot be reached"):
        sent("http://127.0.0.1:9/predict")


def test_ctrl_c_gives_what_was_measured_also_on_a_terminal_where_the_sender_has_it_too() -> None:
    program = (
        "import sys; from drivetrain.load.plan import *; from drivetrain.load.process import carry_out\n"
        "report = carry_out(Plan(target=Target(url=sys.argv[1]), requests=[b'{}'], rate=100, seconds=60))\n"
        "print(report.is_interrupted, report.answered)"
    )
    command = [sys.executable, "-c", program]
    with toy("plain") as url:
        # Several, since what is told at the moment of the signal is what may be lost.
        started = [
            subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True, start_new_session=True)
            for _ in range(6)
        ]
        time.sleep(4)
        for number, process in enumerate(started):
            (os.kill if number == 0 else os.killpg)(process.pid, signal.SIGINT)
        told = [process.communicate(timeout=20)[0].split() for process in started]

    assert [is_interrupted for is_interrupted, _ in told] == ["True"] * 6
    assert all(int(answered) > 50 for _, answered in told)

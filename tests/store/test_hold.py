import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain.errors import StoreUnavailable
from drivetrain.store.hold import alone, shared

HOLDER = """
import sys
from pathlib import Path
from drivetrain.store.hold import alone, shared

with (alone if sys.argv[2] == "alone" else shared)(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holding(root: Path, how: str) -> subprocess.Popen[str]:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{HOLDER}"
    command = [sys.executable, "-S", "-c", program, str(root), how]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_many_share_it_and_nobody_is_alone_meanwhile(tmp_path: Path) -> None:
    holders = [holding(tmp_path, "shared") for _ in range(2)]

    with shared(tmp_path):
        pass
    for holder in holders:
        with pytest.raises(StoreUnavailable, match="a run is using the store"), alone(tmp_path, patience_s=0.1):
            pass
        holder.communicate("\n", timeout=30)
    with alone(tmp_path, patience_s=0.1):
        pass


@pytest.mark.parametrize("how", ["shared", "alone"])
def test_a_process_that_is_killed_lets_go(tmp_path: Path, how: str) -> None:
    holder = holding(tmp_path, how)
    with pytest.raises(StoreUnavailable), alone(tmp_path, patience_s=0.1):
        pass

    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=30)

    with alone(tmp_path, patience_s=5):
        pass


def test_a_run_waits_until_things_were_taken_away(tmp_path: Path) -> None:
    with alone(tmp_path):
        program = f"import sys; sys.path[:0] = {sys.path!r}\n{HOLDER}"
        command = [sys.executable, "-S", "-c", program, str(tmp_path), "shared"]
        waiting = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.5)

    assert waiting.communicate("\n", timeout=30)[0] == "held\n"

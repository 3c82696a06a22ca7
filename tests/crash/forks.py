"""A process that has loaded Drivetrain once, and forks a child for each command, armed with one fault.

A command costs a few milliseconds so, not the start of an interpreter. It is asked by lines of JSON on standard input
and answers by one each.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import sys
import time
import traceback
from typing import Any

from tests.crash.syscalls import Plan

RAW_TRACEBACK = 70
HANGS_S = 60.0


def carried_out(order: dict[str, Any], library: ctypes.CDLL) -> dict[str, Any]:
    """Return how the command ended, and what the fault met."""
    memory = mmap.mmap(-1, ctypes.sizeof(Plan))
    plan = Plan.from_buffer(memory)
    for name in ("action", "at", "error", "kinds"):
        setattr(plan, name, order[name])
    plan.folder = order["folder"].encode()
    child = os.fork()
    if child == 0:
        _child(order, library, plan)
    status = _ended(child)
    answer = {
        "code": os.waitstatus_to_exitcode(status),
        "calls": plan.calls,
        "happened": bool(plan.happened),
        "kind": plan.kind,
    }
    del plan
    memory.close()
    return answer


def _ended(child: int) -> int:
    patience = time.monotonic() + HANGS_S
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        if time.monotonic() > patience:
            os.kill(child, 9)
            raise TimeoutError(f"a command took more than {HANGS_S:.0f} s")
        time.sleep(0.0005)


def _child(order: dict[str, Any], library: ctypes.CDLL, plan: Plan) -> None:
    code = RAW_TRACEBACK
    try:
        os.chdir(order["project"])
        out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        plan.trace = os.open(order["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND) if order["trace"] else -1
        main = importlib.import_module("drivetrain.cli").main
        error = library.arm(ctypes.byref(plan))
        if error:
            raise OSError(error, os.strerror(error))
        for arguments in order["commands"]:
            code = main(arguments)
    except BaseException:
        code = RAW_TRACEBACK
        traceback.print_exc()
    finally:
        # Nothing is closed or tidied up: a process may end at any moment.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _warm(order: dict[str, Any]) -> None:
    """Load what the command loads, which a child tells that carried it out."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(order["project"])
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # it lives as long as the process
        importlib.import_module("drivetrain.cli").main(order["commands"][0])
        names = [name for name in sys.modules if name.split(".")[0] != "system"]
        os.write(write, json.dumps(names).encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        names = json.load(pipe)
    os.waitpid(child, 0)
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:  # `__main__` of a test, the user's system
            continue


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    sys.dont_write_bytecode = True
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        if number == 0:
            _warm(order)
            answer = {}
        else:
            answer = carried_out(order, library)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

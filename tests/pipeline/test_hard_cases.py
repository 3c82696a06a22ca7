"""Steps that do what no step should: each ends as told here, with a right record and no process left behind."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import pytest
from tests.project import Project

from drivetrain.pipeline.attempt import NAME_BYTES, file_name, logs_of
from drivetrain.pipeline.run import Run, StepRun

HEAD = "import os\nimport signal\nimport subprocess\nimport sys\nimport threading\nimport time\nimport warnings\n"
HEAD += "from pathlib import Path\n\nimport drivetrain as dt\n\n\n"
# The line of the table's first line of code in the file.
BODY_LINE = 15


class Case(NamedTuple):
    """What a step does, and what is told of it: words, and the line of its body; no words where it ends well."""

    body: str
    told: str = ""
    line: int = 1
    options: str = ""


# In the process of the run and in one of its own alike.
CASES = {
    "it calls os._exit": Case("os._exit(3)", "its process ended with exit code 3", 0),
    "it is killed": Case("os.kill(os.getpid(), signal.SIGKILL)", "its process was ended by SIGKILL", 0),
    "it exits": Case("sys.exit(3)", "SystemExit: 3"),
    "it raises GeneratorExit": Case("raise GeneratorExit", "GeneratorExit"),
    "it cannot say what is wrong": Case(
        "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Mute",
        "Mute: (it cannot say what is wrong: its `__str__` raised RuntimeError)",
        4,
    ),
    "its error cannot be pickled": Case(
        "class Held(Exception):\n    def __init__(self, a, b):\n        self.lock = threading.Lock()\nraise Held(1, 2)",
        "Held: (1, 2)",
        4,
    ),
    "its error has no end": Case("raise ValueError('x' * 30_000_000)", "x … 29,996,000 letters … x"),
    "its error is not Unicode": Case("raise ValueError('\\ud800 \\0')", "ValueError: \\ud800 \\0"),
    "it calls itself": Case("def f(n):\n    return g(n)\ndef g(n):\n    return f(n)\nf(0)", "RecursionError", 0),
    "it calls itself in C": Case("x = []\nfor _ in range(100_000):\n    x = [x]\nrepr(x)", "RecursionError", 4),
    "it asks for more memory than there is": Case("bytearray(1 << 50)", "MemoryError"),
    "it gives what no codec takes": Case("return threading.Lock()", "'wild' returns lock, which no safe codec", 0),
    "it gives what is nested too deep": Case(
        "x = []\nfor _ in range(100_000):\n    x = [x]\nreturn x", "is nested too deep", 0
    ),
    "it gives text that is not Unicode": Case("return '\\ud800'", "text that is not Unicode", 0),
    "it gives rows of a file that it deletes": Case(
        "import polars as pl\npl.DataFrame({'a': [1]}).write_csv('x.csv')\nrows = pl.scan_csv('x.csv')\n"
        "os.remove('x.csv')\nreturn rows",
        "x.csv",
        0,
    ),
    "it deletes the folder that it works in": Case(
        "os.mkdir('x')\nos.chdir('x')\nos.rmdir('../x')\nraise ValueError('lost')", "ValueError: lost", 4
    ),
    "it prints what is not Unicode": Case("print('\\ud800')\nsys.stdout.buffer.write(b'\\xff\\xfe')"),
    "it prints a gigabyte": Case("for _ in range(1024):\n    sys.stdout.write('x' * (1 << 20))"),
    "it closes its streams": Case("print('a')\nsys.stdout.close()\nsys.stderr.close()"),
    "it closes the descriptors of its streams": Case("print('a')\nos.closerange(0, 3)"),
    "it goes elsewhere": Case("os.chdir('/')"),
    "it changes what is around it": Case(
        "sys.path.insert(0, '/')\nos.environ['HOME'] = '/'\nwarnings.simplefilter('error')\n"
        "if threading.current_thread() is threading.main_thread():\n"
        "    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):\n"
        "        signal.signal(number, signal.SIG_IGN)"
    ),
    "it leaves a thread": Case("threading.Thread(target=time.sleep, args=(60,)).start()"),
    "it leaves a process": Case("subprocess.Popen(['sleep', '60'])"),
    "it leaves a process that hides": Case(
        "subprocess.Popen(['sh', '-c', 'setsid sleep 60 &'], start_new_session=True)"
    ),
    "a thread of it leaves a process": Case(
        "def leave():\n    subprocess.Popen(['sleep', '60'], start_new_session=True)\n    time.sleep(1)\n"
        "threading.Thread(target=leave, daemon=True).start()\ntime.sleep(0.2)"
    ),
    "it forks, and both go on": Case("if os.fork() == 0:\n    Path('forked').write_text('')\ntime.sleep(0.3)"),
    "it forks, and the child raises": Case("if os.fork() == 0:\n    raise ValueError\ntime.sleep(0.3)"),
    "it forks and ends before its child": Case(
        "if os.fork() == 0:\n    time.sleep(60)\nos._exit(5)", "its process ended with exit code 5", 0
    ),
}
# Where there is something to end or to tell apart only in a process of its own.
ISOLATED = {
    "it hangs": Case("time.sleep(60)", "it took longer than 1 s", 1, "timeout_s=1"),
    "it hangs and does not listen": Case(
        "for number in range(1, 32):\n    if number not in (signal.SIGKILL, signal.SIGSTOP):\n"
        "        signal.signal(number, signal.SIG_IGN)\ntime.sleep(60)",
        "it took longer than 1 s",
        0,
        "timeout_s=1",
    ),
    "it fills memory": Case(
        "held = []\nwhile True:\n    held.append(bytearray(20_000_000))",
        "GiB of memory, and may take 0.3",
        0,
        "memory_gib=0.3",
    ),
    "what it began fills memory": Case(
        "subprocess.run([sys.executable, '-c', 'held = bytearray(500_000_000); import time; time.sleep(60)'])",
        "GiB of memory, and may take 0.3",
        0,
        "memory_gib=0.3",
    ),
    "it raises KeyboardInterrupt": Case("raise KeyboardInterrupt", "KeyboardInterrupt"),
}


@pytest.mark.parametrize("options", ["", "isolated=True"], ids=["here", "by itself"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_step_ends_as_told(case: Case, options: str, project: Project) -> None:
    _check(case, options, project)


@pytest.mark.parametrize("case", ISOLATED.values(), ids=ISOLATED)
def test_a_step_by_itself_ends_as_told(case: Case, project: Project) -> None:
    _check(case, case.options or "isolated=True", project)


def _check(case: Case, options: str, project: Project) -> None:
    body = "".join(f"    {line}\n" for line in case.body.splitlines())
    project.write(
        f"{HEAD}@dt.step({options})\ndef wild() -> object:\n{body}    return 1\n\n\n"
        "@dt.step\ndef after(wild: object) -> str:\n    return os.getcwd()\n"
    )
    done = project.command("run", check=1 if case.told else 0)
    told, store = done.stderr, project.store()
    states = {step.step: step.state for step in store.ledger.find(StepRun)}
    if case.told:
        assert case.told in told
        assert "'wild'" in told
        assert (f"system.py:{BODY_LINE + case.line - 1}:" if case.line else "system.py:") in told
        assert len(told) < 20_000
        assert states == {"wild": "failed"}
    else:
        assert states == {"wild": "finished", "after": "finished"}
        (after,) = store.ledger.find(StepRun, {"step": "after"})
        assert store.value(after.outputs["after"]) == str(project.root)
    assert [run.state for run in store.ledger.find(Run)] == ["failed" if case.told else "finished"]
    assert project.processes() == []


def test_a_step_that_takes_ctrl_c_for_itself_is_interrupted(project: Project) -> None:
    project.write(HEAD + "@dt.step\ndef wild() -> int:\n    raise KeyboardInterrupt\n")
    project.command("run", check=130)
    assert [run.state for run in project.store().ledger.find(Run)] == ["interrupted"]
    assert [step.state for step in project.store().ledger.find(StepRun)] == ["interrupted"]


def test_a_cycle_is_refused_where_it_is_declared(project: Project) -> None:
    project.write(
        HEAD + "@dt.step\ndef a(b: int) -> int:\n    return b\n\n\n@dt.step\ndef b(a: int) -> int:\n    return a\n"
    )
    told = project.command("run", check=2).stderr
    assert "system.py:" in told
    assert "a → b → a" in told or "b → a → b" in told
    assert project.store().ledger.find(Run) == []


def test_a_chain_of_ten_thousand_steps_is_planned_and_fails_where_it_fails(project: Project) -> None:
    steps = [f"@dt.step\ndef a{i}(a{i - 1}: int) -> int:\n    return a{i - 1} + 1\n" for i in range(1, 10_000)]
    text = HEAD + "@dt.step\ndef a0() -> int:\n    return 1 // 0\n\n\n" + "\n\n".join(steps)
    project.write(text)
    assert "step 'a0' failed: ZeroDivisionError" in project.command("run", check=1).stderr
    project.write(text.replace("1 // 0", "1"))
    assert project.json("run", "a999")["steps"][-1]["step"] == "a999"


WORDS = ["a/b", "..", "日本" * 40, "🦆", "a b", "'\"", "x" * 5000, "new\nline", "%2F", "\0", " "]


def test_items_have_any_names(project: Project) -> None:
    project.write(
        HEAD + f"WORDS = {WORDS!r}\n\n\n"
        "@dt.step\ndef words() -> dict:\n    return {w: i for i, w in enumerate(WORDS)}\n\n\n"
        "@dt.step(each={'word': 'words'})\ndef size(word: int) -> int:\n    print(word)\n    return word\n\n\n"
        "@dt.step\ndef total(size: dict) -> int:\n    return sum(size.values())\n"
    )
    project.command("run")
    store = project.store()
    (total,) = store.ledger.find(StepRun, {"step": "total"})
    assert store.value(total.outputs["total"]) == sum(range(len(WORDS)))
    logs = {path.name: path.read_text() for path in logs_of(store.root, total.run).iterdir()}
    assert logs == {file_name(f"size[{word}]"): f"{number}\n" for number, word in enumerate(WORDS)}
    assert all(len(os.fsencode(name)) <= NAME_BYTES + len(".log") for name in logs)
    project.command("show", total.run)
    project.command("runs")


@pytest.mark.parametrize("items", ["{'': 1}", "{1: 1, '1': 2}"])
def test_items_that_cannot_be_told_apart_are_refused(items: str, project: Project) -> None:
    project.write(HEAD + f"@dt.step(each={{'number': {items}}})\ndef size(number: int) -> int:\n    return number\n")
    done = project.command("run", check=None)
    assert done.returncode in (1, 2)
    assert "'size'" in done.stderr
    assert "system.py:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ten_thousand_items_are_planned_run_and_found_again(project: Project) -> None:
    project.write(
        HEAD
        + "@dt.step(each={'number': list(range(10_000))})\ndef double(number: int) -> int:\n    return 2 * number\n"
    )
    project.command("run")
    began = time.monotonic()
    project.command("run")
    assert time.monotonic() - began < 20
    store = project.store()
    (ran,) = store.ledger.find(StepRun, {"step": "double", "state": "finished"}, limit=1)
    assert store.value(ran.outputs["double"])[9_999] == 19_998

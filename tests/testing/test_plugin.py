"""The pytest plugin, in a pytest of its own: it gives the fixture, and costs nothing where nobody asks for it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEM = "import drivetrain as dt\n\n\n@dt.step\ndef one() -> int:\n    return 1\n"
PLUGIN = "drivetrain.testing.pytest"


def run_pytest(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    if test:
        (folder / "system.py").write_text(SYSTEM)
        (folder / "test_system.py").write_text(test)
    # By its name, so that it is there once, whether or not the environment knows its entry point.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:drivetrain", "-p", PLUGIN, "-p", "no:cacheprovider"]
    return subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, timeout=100)


def test_the_fixture_is_there_and_a_failure_is_told_from_the_users_line(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        "import system\n\n\ndef test_it(lab):\n    assert lab.run(system)['one'] == 1\n"
        "    lab.last.assert_cached('one')\n",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "AssertionError: one was to be cached, and ran: first time" in done.stdout
    assert "drivetrain/testing/result.py" not in done.stdout


def test_a_fixture_of_the_users_own_name_is_the_users(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        "import pytest\n\n\n@pytest.fixture\ndef lab():\n    return 'mine'\n\n\n"
        "def test_it(lab):\n    assert lab == 'mine'\n",
    )
    assert done.returncode == 0, done.stdout


def test_a_test_run_that_does_not_use_it_loads_nothing(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        "import json, sys\n\n\ndef test_it():\n    json.dump(sorted(sys.modules), open('modules.json', 'w'))\n",
    )
    assert done.returncode == 0, done.stdout
    loaded = set(json.loads((tmp_path / "modules.json").read_text()))
    assert {name for name in loaded if name.startswith("drivetrain")} == {"drivetrain", "drivetrain.testing", PLUGIN}
    assert not loaded & {"polars", "numpy", "msgspec"}


def test_several_processes_share_the_tests(tmp_path: Path) -> None:
    if importlib.util.find_spec("xdist") is None:
        pytest.skip("pytest-xdist is not installed")
    done = run_pytest(
        tmp_path,
        "import pytest, system\n\n\n@pytest.mark.parametrize('number', range(8))\ndef test_it(lab, number):\n"
        "    lab.run(system).assert_ran('one')\n",
        *("-n", "2"),
    )
    assert done.returncode == 0, done.stdout
    assert "8 passed" in done.stdout


def test_the_tests_of_the_first_system_pass(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "drivetrain", "init", str(tmp_path)], check=True, capture_output=True)
    done = run_pytest(tmp_path, "")
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout

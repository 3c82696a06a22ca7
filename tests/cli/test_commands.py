"""The commands as a user types them: in a new project, from `init` to `rollback`."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.project import Project

from drivetrain.cli import COMMANDS
from drivetrain.monitoring.window import Alert
from drivetrain.store.record import now

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("sklearn")
pytest.importorskip("skops")


def test_a_new_project_runs_and_every_command_has_json(project: Project) -> None:
    project.command("init", ".")
    ran = project.json("run")
    assert ran["run"]["state"] == "finished"
    assert {step["state"] for step in project.json("run")["steps"] if step["role"] != "gate"} == {"cached"}
    models = project.json("models")
    assert models["champions"] == {"malignancy": "malignancy@1"}
    project.command("run", "--set", "malignancy.regularisation=0.5", "--json", check=3)
    chosen = {version["id"] for version in project.json("models")["versions"]}
    assert chosen == {"malignancy@1", "malignancy@2"}
    project.json("promote", "malignancy@2", "--reason", "to see")
    assert project.json("rollback")["version"] == "malignancy@1"
    assert project.json("show")["system"] == "system"
    assert project.json("show", "latest")["run"]["state"] == "finished"
    assert len(project.json("runs")) == 3
    assert {found["verdict"] for found in project.json("why")} == {"hit", "always"}
    assert project.json("why", "malignancy@1")["version"]["id"] == "malignancy@1"
    assert not [item for item in project.json("doctor")["findings"] if item["state"] == "bad"]


def test_init_overwrites_nothing(project: Project) -> None:
    project.write("mine = 1\n")
    told = project.command("init", ".", check=2).stderr
    assert "already has system.py" in told
    assert (project.root / "system.py").read_text() == "mine = 1\n"


def test_an_unknown_command_names_the_nearest(project: Project) -> None:
    assert "did you mean serve?" in project.command("sreve", check=2).stderr


def test_an_error_in_json_is_json_on_standard_error(project: Project) -> None:
    done = project.command("run", "--json", check=2)
    body = msgspec.json.decode(done.stderr)
    assert body["error"] == "UsageError"
    assert "drivetrain init" in body["remedy"]
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["serve", "ui", "up"])
def test_a_taken_port_is_told_before_anything_starts(command: str, project: Project) -> None:
    project.command("init", ".")
    project.command("run")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        free = {"DRIVETRAIN_SERVE_PORT": "0"} if command == "up" else {"DRIVETRAIN_SERVE_PORT": port}

        told = project.command(command, check=2, DRIVETRAIN_CONSOLE_PORT=port, **free).stderr

    assert told.startswith(f"the port {port} of 127.0.0.1 cannot be used: ")
    assert "http://" not in told, "nothing is said to answer"


def test_a_single_look_of_the_monitor_lists_the_open_alerts(project: Project) -> None:
    project.write("import drivetrain as dt\n\n\n@dt.step\ndef one() -> int:\n    return 1\n")
    assert project.command("monitor", "--once").stdout == "looked once: no alert is open\n"

    alert = Alert(id="alert-1", monitor="watch", rule="drift", version="late@1", message="miles moved", raised_at=now())
    project.store().ledger.write(alert)

    assert project.command("monitor", "--once").stdout == "just now: miles moved\n"
    assert [each["id"] for each in project.json("monitor", "--once")["alerts"]] == ["alert-1"]


def test_a_pipe_that_closes_early_does_not_stop_the_run(project: Project) -> None:
    steps = "".join(f"@dt.step\ndef s{i}() -> int:\n    return {i}\n\n\n" for i in range(30))
    project.write("import drivetrain as dt\n\n\n" + steps)
    subprocess.run(f"{sys.executable} -m drivetrain run | head -1", shell=True, cwd=project.root, check=True)
    assert [found["run"]["state"] for found in project.json("runs")] == ["finished"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, project: Project) -> None:
    assert "--json" in project.command(command, "--help").stdout


TWO = """
import drivetrain as dt


@dt.predictor
class Shout:
    def predict(self, text: str) -> str:
        return text.upper()


@dt.predictor
class Whisper:
    def predict(self, text: str) -> str:
        return text.lower()


gates = [dt.Gate(Shout, name="gate_shout"), dt.Gate(Whisper, name="gate_whisper")]
loud = dt.Service(Shout)
"""


def test_a_command_below_the_folder_of_a_project_says_whose_it_uses(project: Project) -> None:
    project.write(TWO)
    (project.root / "drivetrain.toml").write_text("")
    below = project.root / "notes"
    below.mkdir()

    def told(folder: Path, *words: str) -> str:
        command = [sys.executable, "-m", "drivetrain", "show", *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr

    assert told(below) == f"in the project {project.root.resolve()}, which has the nearest drivetrain.toml\n"
    assert told(below, "--json") == told(project.root) == ""


def test_a_run_says_what_is_next_as_it_has_to_be_typed(project: Project) -> None:
    project.write(TWO)
    told = project.command("run").stdout
    assert "`drivetrain serve` answers requests\n" in told  # and nothing would be watched by `drivetrain up`

    (project.root / "other.py").write_text(TWO + "soft = dt.Service(Whisper)\nwatch = dt.Monitor(soft)\n")
    done = project.command("run", "--file", "other.py")

    assert "`drivetrain serve --all --file other.py` answers requests, `drivetrain up --all --file" in done.stdout
    assert "serve --all" in project.json("run", "--file", "other.py")["next"]

    (project.root / "other.py").write_text(TWO.replace("loud = ", "# "))
    assert "drivetrain serve" not in project.command("run", "--file", "other.py").stdout

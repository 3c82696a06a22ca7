"""The outputs of a mapped step: never collected while they are mentioned, and made again one by one."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from tests.project import Project

from drivetrain.pipeline.run import StepRun
from drivetrain.store.artifact import Artifact
from drivetrain.store.store import Store

SYSTEM = """
import drivetrain as dt


@dt.step
def months() -> list[str]:
    return ["jan", "feb", "mar"]


@dt.step(each={"month": months})
def rows(month: str) -> dict[str, int]:
    print("reading", month)
    dt.log("n", len(month))
    return {month: 1}


@dt.step
def total(rows: list[dict[str, int]]) -> int:
    return len(rows)
"""


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("mapped"))
    project.write(SYSTEM)
    project.json("run")
    return project


@pytest.fixture
def project(once: Project, tmp_path: Path) -> Project:
    """A copy of it, to be spoiled."""
    shutil.copytree(once.root, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def output_of(store: Store, step: str) -> Artifact:
    found = store.ledger.find(StepRun, {"step": step}, order="-started_at", limit=1)
    return found[0].outputs["rows"]


def spoil(store: Store, artifact: Artifact) -> None:
    path = store.artifacts.place(artifact.digest)
    path.chmod(0o644)
    path.write_bytes(b"[" + path.read_bytes()[1:])


def ran(project: Project) -> set[str]:
    return {step["step"] for step in project.json("run")["steps"] if step["state"] == "finished"}


def test_a_damaged_item_is_named_and_only_it_runs_again(project: Project) -> None:
    store = project.store()
    spoil(store, output_of(store, "rows[feb]"))

    told = project.command("store", "fsck", check=1).stdout
    assert "affects  step rows[feb]" in told
    assert "does the step rows[feb] again" in told
    mended = project.command("store", "fsck", "--repair").stdout

    assert "set aside in quarantine/; the next run does the step rows[feb] again" in mended
    assert ran(project) == {"rows[feb]", "rows"}  # the whole comes together anew
    assert project.json("store", "fsck")["state"] == "sound"


def test_a_damaged_collection_comes_together_again_and_no_item_runs(project: Project) -> None:
    store = project.store()
    spoil(store, output_of(store, "rows"))

    refused = project.command("store", "gc", "--older-than", "0s", check=None)
    assert refused.returncode != 0
    assert "is damaged" in refused.stderr
    assert "does the step rows again" in project.command("store", "fsck", check=1).stdout
    project.command("store", "fsck", "--repair")

    assert ran(project) <= {"rows"}
    assert project.json("store", "fsck")["state"] == "sound"


def test_nothing_that_is_mentioned_is_collected_and_leftovers_are(project: Project) -> None:
    store = project.store()
    before = set(store.artifacts)
    (run,) = {step.run for step in store.ledger.find(StepRun)}
    for gone in ("logs/run-gone", "handover/run-gone", f"handover/{run}"):
        (store.root / gone).mkdir(parents=True)
        (store.root / gone / "a").write_bytes(b"1234")
    (store.root / "logs" / "run.log").write_bytes(b"of `drivetrain up`")

    assert project.json("store", "gc")["garbage"] == []  # too young
    found = project.json("store", "gc", "--older-than", "0s", "--dry-run")["garbage"]
    project.command("store", "gc", "--older-than", "0s")

    assert {(each["kind"], Path(each["path"]).name, each["size_bytes"]) for each in found} == {
        ("log", "run-gone", 4), ("handover", "run-gone", 4), ("handover", run, 4)
    }  # fmt: skip
    assert set(store.artifacts) == before
    assert sorted(path.name for path in (store.root / "logs").iterdir()) == [run, "run.log"]
    assert list((store.root / "handover").iterdir()) == []
    assert ran(project) == set()


def test_what_is_known_of_a_file_goes_with_it(project: Project) -> None:
    store = project.store()
    files = [project.root / name for name in ("stays.csv", "gone with the wind.csv")]
    for file in files:
        file.write_bytes(b"x" * (2 << 20))
        os.utime(file, (time.time() - 60,) * 2)
        store.fingerprints.remember(file, "sha256:" + "a" * 64)
    files[1].unlink()

    (found,) = project.json("store", "gc", "--older-than", "0s")["garbage"]

    assert found["kind"] == "fingerprint"
    assert len(list(store.fingerprints.root.iterdir())) == 1
    assert store.fingerprints.digest(files[0]) == "sha256:" + "a" * 64


def test_an_imported_store_answers_as_the_one_it_came_from(project: Project, tmp_path: Path) -> None:
    home = Project(tmp_path / "home")
    home.root.mkdir()
    home.write(SYSTEM)
    project.command("run", "--force", "months")
    older, newer = (found["run"]["id"] for found in project.json("runs")[::-1])
    project.command("store", "export", newer, older, "--output", str(home.root / "runs.tar"))
    home.command("store", "import", "runs.tar")

    for ask in (("runs",), ("show", older), ("show", newer), ("compare", older, newer), ("why",)):
        assert home.json(*ask) == project.json(*ask), ask
    assert (home.root / ".drivetrain" / "logs" / older / "rows[jan].log").read_text() == "reading jan\n"
    assert ran(home) == set()

"""Looking after the store of a real project, as a user does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.project import Project

from drivetrain.registry.version import Version

pytest.importorskip("sklearn")
pytest.importorskip("skops")


@pytest.fixture(scope="module")
def once_trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two versions, and a third run that changed nothing."""
    project = Project(tmp_path_factory.mktemp("trained"))
    project.command("init", ".")
    project.json("run")
    project.command("run", "--set", "malignancy.regularisation=0.5", check=3)  # the gate refuses it
    project.json("run")
    return project


@pytest.fixture
def trained(once_trained: Project, tmp_path: Path) -> Project:
    """A copy of it, to be spoiled."""
    shutil.copytree(once_trained.root, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def runs(project: Project) -> list[str]:
    return [found["run"]["id"] for found in project.json("runs")]


def spoil(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"\0" + path.read_bytes()[1:])


def fsck(project: Project, *arguments: str, check: int) -> str:
    return project.command("store", "fsck", *arguments, check=check).stdout


def test_a_store_is_checked_mended_by_the_next_run_and_sound_again(trained: Project) -> None:
    assert trained.json("store", "fsck")["state"] == "sound"
    store = trained.store()
    (version,) = store.ledger.find(Version, {"number": 1})
    train = store.ledger.query("SELECT outputs ->> '$.train.digest' FROM step_run WHERE step = 'train'")[0][0]
    spoil(store.artifacts.place(train))
    spoil(store.artifacts.place(version.artifact.digest))

    told = fsck(trained, check=1)

    assert f"artifact changed: {train}" in told
    assert "step train" in told
    assert "version malignancy@1" in told
    assert fsck(trained, "--repair", check=0).count("set aside in quarantine/") == 2
    assert "artifact missing" in fsck(trained, check=1)
    states = {step["step"]: step["state"] for step in trained.json("run")["steps"]}
    assert states["train"] == "finished"
    assert states["malignancy"] == "finished"
    assert fsck(trained, check=0).endswith("it is sound\n")


def test_a_damaged_row_stops_what_needs_it_until_it_is_set_aside(trained: Project) -> None:
    store = trained.store()
    store.ledger.query("UPDATE step_run SET seconds = 99 WHERE step = 'malignancy'")
    store.close()

    assert "of the table step_run is damaged" in trained.command("runs", check=1).stderr
    assert "step malignancy" in fsck(trained, check=1)
    fsck(trained, "--repair", check=0)

    assert trained.json("why", "malignancy@1")["version"]["id"] == "malignancy@1"
    assert len(trained.json("runs")) == 3
    assert {step["step"]: step["state"] for step in trained.json("run")["steps"]}["malignancy"] == "finished"


def test_garbage_collection_takes_nothing_that_is_needed(trained: Project) -> None:
    assert trained.json("store", "gc", "--older-than", "0s")["garbage"] == []
    oldest = runs(trained)[-1]
    told = trained.command("store", "delete", oldest, check=2).stderr
    assert f"{oldest} is needed" in told
    newest = runs(trained)[0]
    assert trained.json("store", "delete", newest)["deleted"] == [newest]
    assert len(trained.json("store", "gc", "--older-than", "0s")["garbage"]) == 1  # what its gate said
    assert trained.json("store", "fsck")["state"] == "sound"
    states = {step["step"]: step["state"] for step in trained.json("run")["steps"]}
    assert [name for name, state in states.items() if state != "cached"] == ["gate"]


def test_runs_are_named_as_everywhere(trained: Project) -> None:
    newest, _, oldest = runs(trained)
    archive = str(trained.root / "runs.tar")
    assert (
        oldest in trained.json("store", "export", "malignancy@1", "--output", archive)["exported"]["manifest"]["runs"]
    )
    assert trained.json("store", "delete", "latest")["deleted"] == [newest]


def test_a_run_without_a_version_is_deleted_and_its_space_freed(project: Project) -> None:
    project.write("import drivetrain as dt\n\n\n@dt.step\ndef a(n: int = 1) -> list[int]:\n    return [n] * 5000\n")
    for n in (1, 2, 3):
        project.json("run", "--set", f"a.n={n}")
    newest, second, oldest = runs(project)
    assert project.json("store", "pin", "latest~2", "--reason", "for the audit")["pin"]["run"] == oldest

    would = project.json("store", "gc", "--older-than", "0s", "--keep-runs", "1", "--dry-run")
    done = project.json("store", "gc", "--older-than", "0s", "--keep-runs", "1")

    assert would["runs"] == done["runs"] == [second]
    assert would["garbage"] == done["garbage"] != []
    assert runs(project) == [newest, oldest]
    assert project.json("store", "gc", "--older-than", "0s")["garbage"] == []
    project.json("store", "unpin", "latest~1")
    project.json("store", "delete", oldest, "--reason", "no longer of use")
    assert len(project.json("store", "gc", "--older-than", "0s")["garbage"]) == 1
    assert project.json("store", "fsck")["state"] == "sound"
    assert project.json("why", "a")["verdict"] == "miss"


def test_the_room_that_is_taken_is_told(trained: Project) -> None:
    size = trained.json("store", "size")["size"]

    on_disk = [path.stat().st_size for path in (trained.root / ".drivetrain/artifacts/sha256").glob("*/*")]
    assert size["artifacts_bytes"] == sum(on_disk) == sum(share["size_bytes"] for share in size["formats"])
    assert {share["format"] for share in size["formats"]} >= {"parquet", "skops", "json"}
    assert size["biggest"][0][1] == max(on_disk)
    assert "not needed" not in trained.command("store", "size").stdout


@pytest.mark.parametrize("age", ["yesterday", "-1d", "30"])
def test_an_age_that_is_none_is_refused(project: Project, age: str) -> None:
    assert "is not a length of time" in project.command("store", "gc", f"--older-than={age}", check=2).stderr

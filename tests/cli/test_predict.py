"""`drivetrain predict` and `dt.predict`, as a user types them."""

from __future__ import annotations

import sys

import polars as pl
import pytest
from tests.project import Project

import drivetrain as dt
from drivetrain.serving.batch.job import BatchJob

pytest.importorskip("sklearn")
pytest.importorskip("skops")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a champion, and a file of rows."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.command("init", ".")
    project.command("run")
    rows = pl.DataFrame({name: [17.99, 10.0, 12.5] for name in ("mean_radius", "mean_texture")}).with_columns(
        mean_smoothness=0.1184, mean_concavity=0.3001, note=pl.lit("kept")
    )
    rows.write_csv(project.root / "rows.csv")
    return project


def test_rows_are_answered_listed_and_shown(trained: Project) -> None:
    would = trained.command("predict", "--input", "rows.csv", "--output", "out.csv", "--dry-run").stdout
    done = trained.command("predict", "--input", "rows.csv", "--output", "out.csv").stdout
    refused = trained.command("predict", "--input", "rows.csv", "--output", "out.csv", check=2).stderr
    job = trained.json("predict", "--input", "rows.csv", "--output", "few.parquet", "--columns", "note", "--limit", "2")
    listed = trained.command("predict", "--jobs").stdout.splitlines()
    shown = trained.command("show", job["id"]).stdout

    assert "malignancy@1 would answer as many rows as there are of 1 file (" in would
    assert done.startswith("3 rows answered by malignancy@1")
    assert "out.csv is there already, by batch-" in refused
    found = pl.read_csv(trained.root / "out.csv")
    assert found.columns[-3:] == ["note", "prediction", "version"]
    assert pl.read_parquet(trained.root / "few.parquet").columns == ["note", "prediction", "version"]
    assert (job["rows"], job["state"]) == (2, "finished")
    assert listed[1].split()[:3] == [job["id"], "finished", "malignancy@1"]
    assert "1 of 1 parts, 2 rows" in shown
    assert "did you mean" in trained.command("show", job["id"][:-1], check=2).stderr


def test_a_dataset_of_the_system_is_an_input(trained: Project) -> None:
    job = trained.json("predict", "--input", "tumours", "--output", "tumours.parquet", "--only-predictions")

    assert job["rows"] == pl.read_parquet(trained.root / "tumours.parquet").height == 569


def test_a_bad_row_is_told_or_counted(trained: Project) -> None:
    text = (trained.root / "rows.csv").read_text()
    (trained.root / "bad.csv").write_text(text.replace("12.5", "many", 1))

    told = trained.command("predict", "--input", "bad.csv", "--output", "bad.parquet", check=2).stderr
    done = trained.command("predict", "--input", "bad.csv", "--output", "bad.parquet", "--on-bad-row", "skip").stdout

    assert "row 2 of bad.csv, field 'mean_radius': found \"many\", wanted a number" in told
    assert "2 rows answered" in done
    assert "1 row could not be: see" in done
    assert "bad.rejects.ndjson" in done

    kept = trained.command("predict", "--input", "bad.csv", "--output", "kept.csv", "--on-bad-row", "keep").stdout
    assert kept.startswith("2 rows answered")
    assert "1 row could not be: see" in kept
    assert (trained.root / "kept.csv").read_text().count("\n") == 4


def test_what_is_missing_is_asked_for(trained: Project) -> None:
    assert "--output is missing" in trained.command("predict", "--input", "rows.csv", check=2).stderr
    assert "did you mean rows.csv?" in trained.command("predict", "--input", "row.csv", "--output", "x", check=2).stderr


def test_python_does_the_same(trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.root)
    monkeypatch.setattr(sys, "path", [str(trained.root), *sys.path])
    frame = pl.read_csv("rows.csv")

    scored = dt.predict(frame)
    job = dt.predict("rows.csv", "python.parquet", version="malignancy@champion", columns=())

    assert isinstance(job, BatchJob)
    assert scored.columns == [*frame.columns, "prediction", "version"]
    assert pl.read_parquet("python.parquet")["prediction"].to_list() == scored["prediction"].to_list()


def test_what_a_job_has_done_is_no_damage_to_the_store(trained: Project) -> None:
    trained.command("predict", "--input", "rows.csv", "--output", "again.csv")

    trained.command("store", "fsck")
    trained.command("store", "gc", "--older-than", "0d")
    trained.command("store", "export", "--output", "backup.tar")
    assert trained.json("predict", "--jobs")[0]["state"] == "finished"

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tests.project import Project

from drivetrain.errors import NoCodec, UsageError
from drivetrain.pipeline.attachment import Attachment, attach
from drivetrain.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def kept(store: Store, value: object, name: str = "it") -> Attachment:
    return attach(store, "run-1", "fit", name, value)


def test_a_value_is_kept_in_the_form_of_its_type(store: Store) -> None:
    figures = {name: kept(store, value, name) for name, value in {
        "text": "a line\n", "dict": {"a": 1}, "frame": pl.DataFrame({"n": [1, 2]}), "bytes": b"\x00",
    }.items()}  # fmt: skip

    assert {name: each.media_type for name, each in figures.items()} == {
        "text": "text/plain", "dict": "application/json", "frame": "application/vnd.apache.parquet",
        "bytes": "application/octet-stream",
    }  # fmt: skip
    assert store.value(figures["frame"].artifact)["n"].to_list() == [1, 2]
    assert figures["frame"].artifact.rows == 2


def test_a_file_is_kept_as_it_is_with_its_media_type(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "drawing.svg"
    file.write_text("<svg/>")

    found = kept(store, file)

    assert (found.media_type, found.file, found.artifact.size_bytes) == ("image/svg+xml", "drawing.svg", 6)
    assert file.exists()
    assert store.artifacts.get(found.artifact.digest) == b"<svg/>"


def test_a_figure_is_kept_as_a_picture(store: Store) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, axes = pyplot.subplots()
    axes.plot([1, 2])

    found = kept(store, figure)
    pyplot.close(figure)

    assert found.media_type == "image/png"
    assert store.artifacts.get(found.artifact.digest).startswith(b"\x89PNG")


def test_the_same_name_again_takes_the_place_of_the_earlier(store: Store) -> None:
    kept(store, {"a": 1})
    kept(store, {"a": 2})

    (found,) = store.ledger.find(Attachment)
    assert store.value(found.artifact) == {"a": 2}


def test_what_cannot_be_attached_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("report.txt").write_text("x")

    with pytest.raises(UsageError, match="no such file"):
        kept(store, Path("nowhere.txt"))
    with pytest.raises(UsageError, match="is a directory"):
        kept(store, tmp_path)
    with pytest.raises(UsageError, match="a file of that name is here"):
        kept(store, "report.txt")
    with pytest.raises(UsageError, match="the name of an attachment is empty"):
        kept(store, {}, " ")
    with pytest.raises(NoCodec):
        kept(store, object())


def test_attachments_are_listed_with_the_run_also_where_the_step_did_not_run_again(project: Project) -> None:
    project.write(
        "import drivetrain as dt\n\n\n@dt.step\ndef fit() -> int:\n    dt.attach('why', {'a': 1})\n    return 1\n"
    )
    project.command("run")
    project.command("run")

    (found,) = project.json("show", "latest")["attachments"]
    assert (found["name"], found["step"], found["artifact"]["size_bytes"]) == ("why", "fit", 7)
    assert "fit.why" in project.command("show", "latest").stdout

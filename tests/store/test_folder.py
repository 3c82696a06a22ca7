import errno
import os
from pathlib import Path

import pytest

from drivetrain.store.folder import make_beside, make_folder, make_folders, sync_folder


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that are synced, in order."""
    found: list[Path] = []

    def noted(path: Path) -> None:
        found.append(path)
        sync_folder(path)

    monkeypatch.setattr("drivetrain.store.folder.sync_folder", noted)
    return found


def test_each_name_of_a_chain_is_put_onto_the_disk_also_of_folders_that_are_there(
    tmp_path: Path, synced: list[Path]
) -> None:
    (tmp_path / "a").mkdir()

    make_folders(tmp_path / "a" / "b" / "c")

    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced[-3:] == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


@pytest.mark.parametrize("was_there", [False, True])
def test_a_new_folder_whose_name_may_be_lost_is_taken_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_there: bool
) -> None:
    folder = tmp_path / "folder"
    if was_there:
        folder.mkdir()

    def broken(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output error"):
            make_folder(folder)
    assert folder.exists() == was_there

    make_folder(folder)

    assert folder.is_dir()


def test_folders_beside_each_other_are_put_onto_the_disk_at_once(tmp_path: Path, synced: list[Path]) -> None:
    (tmp_path / "a").mkdir()

    make_beside([tmp_path / name for name in "abc"])

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    assert synced == [tmp_path]


def test_a_file_in_the_way_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
    assert (tmp_path / "file").exists()

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drivetrain.errors import CorruptArtifact, StoreUnavailable
from drivetrain.store.digest import digest_of
from drivetrain.store.files import LEFTOVER_S, FileArtifacts
from drivetrain.store.store import Store

PUTTER = """
import sys
from pathlib import Path
from drivetrain.store.files import FileArtifacts

artifacts = FileArtifacts(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    print(artifacts.put(f"{number} ".encode() * 9_000), flush=True)
"""


def start(root: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}\n{PUTTER}",
            str(root),
            str(first),
            str(last),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def artifacts(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "artifacts")


def leftovers(artifacts: FileArtifacts) -> list[Path]:
    return list((artifacts.root / "partial").iterdir())


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_byte_that_changed_is_noticed_and_named(artifacts: FileArtifacts, seen_before: bool) -> None:
    digest = artifacts.put(b"a table of numbers")
    path = artifacts.root / "sha256" / digest[7:9] / digest[9:]
    if seen_before:
        artifacts.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"a table of numbres")

    for read in (artifacts.get, artifacts.path):
        with pytest.raises(CorruptArtifact, match=str(path)) as caught:
            read(digest)
        assert caught.value.digest == digest


def test_processes_that_put_the_same_bytes_at_once_do_not_disturb_each_other(artifacts: FileArtifacts) -> None:
    children = [start(artifacts.root, 0, 60) for _ in range(4)]

    printed = [child.communicate(timeout=60)[0].split() for child in children]

    assert all(child.returncode == 0 for child in children)
    assert all(digests == printed[0] for digests in printed)
    assert sorted(artifacts) == sorted(printed[0])
    assert [digest_of(artifacts.get(digest)) for digest in printed[0]] == printed[0]
    assert leftovers(artifacts) == []


def test_killed_at_any_moment_it_has_all_it_acknowledged_and_nothing_half_written(
    artifacts: FileArtifacts,
) -> None:
    chance = random.Random(0)
    acknowledged: list[str] = []
    for number in range(20):
        child = start(artifacts.root, number * 10_000, (number + 1) * 10_000)
        assert child.stdout is not None
        acknowledged.append(child.stdout.readline().strip())
        time.sleep(chance.random() * 0.03)
        child.send_signal(signal.SIGKILL)
        rest = child.communicate(timeout=60)[0]
        acknowledged += [line.strip() for line in rest.splitlines(keepends=True) if line.endswith("\n")]

    assert len(acknowledged) >= 20
    assert set(acknowledged) <= set(artifacts)
    assert [digest_of(artifacts.get(digest)) for digest in artifacts] == list(artifacts)


def test_what_killed_processes_left_is_swept_away_once_it_is_old(artifacts: FileArtifacts) -> None:
    for name, age_s in (("old", LEFTOVER_S + 60), ("in use", 0.0)):
        path = artifacts.root / "partial" / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_s,) * 2)

    again = FileArtifacts(artifacts.root)

    assert [path.name for path in leftovers(again)] == ["in use"]


def test_a_full_disk_is_told_leaves_nothing_behind_and_may_be_mended(small_disk: Path) -> None:
    artifacts = FileArtifacts(small_disk / "artifacts")
    small = artifacts.put(b"x" * 400_000)

    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="No space left"):
            artifacts.put(b"y" * 900_000)

    assert leftovers(artifacts) == []
    assert list(artifacts) == [small]
    artifacts.path(small).unlink()
    assert artifacts.get(artifacts.put(b"y" * 900_000)) == b"y" * 900_000


def wide_values() -> list[object]:
    import numpy as np
    import polars as pl

    numbers = np.random.default_rng(0).normal(size=200_000)
    values: list[object] = [
        numbers,
        pl.DataFrame({"a": numbers}),
        pl.DataFrame({"a": numbers}).lazy(),
        numbers.tobytes(),
    ]
    values += [numbers.tolist(), "text " * 400_000]
    try:
        import pandas as pd
        import pyarrow as pa

        values += [pd.DataFrame({"a": numbers}), pa.table({"a": numbers})]
    except ModuleNotFoundError:
        pass
    return values


def test_every_codec_tells_of_a_full_disk(small_disk: Path) -> None:
    store = Store.open(small_disk / "store")

    for value in wide_values():
        with pytest.raises(StoreUnavailable, match="No space left"):
            store.keep(value, part="part")
        assert leftovers(store.artifacts) == []
    store.keep({"still": "works"}, part="part")


def test_a_folder_that_cannot_be_written_is_told(small_disk: Path) -> None:
    artifacts = FileArtifacts(small_disk / "artifacts")
    kept = artifacts.put(b"before")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(StoreUnavailable, match="Read-only file system"):
        artifacts.put(b"after")
    with pytest.raises(StoreUnavailable, match="Read-only file system"):
        Store(root=small_disk, artifacts=artifacts, ledger=None).keep({"a": 1}, part="part")  # type: ignore[arg-type]
    assert artifacts.get(kept) == b"before"


@pytest.mark.parametrize("inside", ["", "partial", "sha256"])
def test_a_file_in_the_way_of_the_folder_is_told(tmp_path: Path, inside: str) -> None:
    way = tmp_path / "artifacts" / inside
    way.parent.mkdir(exist_ok=True)
    way.write_bytes(b"")

    with pytest.raises(StoreUnavailable, match=str(tmp_path / "artifacts")):
        FileArtifacts(tmp_path / "artifacts").put(b"data")


def test_a_file_that_cannot_be_read_is_told(artifacts: FileArtifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = artifacts.put(b"data")

    def broken(path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", broken)

    with pytest.raises(StoreUnavailable, match="Input/output error"):
        artifacts.get(digest)


def test_a_file_from_elsewhere_is_left_to_its_owner_when_it_cannot_be_moved(
    artifacts: FileArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine"
    path.write_bytes(b"data")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "rename", full)

    with pytest.raises(StoreUnavailable):
        artifacts.adopt(path)
    assert path.exists()


@pytest.mark.parametrize("size_bytes", [3, 3 << 20])
def test_a_damaged_artifact_is_told_and_replaced_by_the_same_bytes(artifacts: FileArtifacts, size_bytes: int) -> None:
    data = bytes(size_bytes)
    digest = artifacts.put(data)
    path = artifacts.path(digest)
    path.chmod(0o644)
    path.write_bytes(data[:-1] + b"x")

    assert artifacts.fault(digest) == "damaged"
    assert artifacts.put(data) == digest
    assert artifacts.fault(digest) == ""
    assert artifacts.get(digest) == data

"""A large file is read through once, and again when anything has touched it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drivetrain.store.fingerprints import SMALL_BYTES, Fingerprints, digest_of_file

OLD_NS = 1_000_000_000_000_000_000


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(SMALL_BYTES + 1))
    return path


@pytest.fixture
def known(tmp_path: Path) -> Fingerprints:
    return Fingerprints(tmp_path / "known")


def falsify(known: Fingerprints) -> None:
    """Make what is remembered tell itself from what is read."""
    (note,) = known.root.iterdir()
    note.write_text(note.read_text().partition(" ")[0] + " remembered")


def test_a_large_file_that_nobody_touched_is_not_read_again(large: Path, known: Fingerprints) -> None:
    known.remember(large, digest_of_file(large))
    falsify(known)
    assert known.digest(large) == "remembered"


def test_a_touched_file_is_read_again(large: Path, known: Fingerprints) -> None:
    known.remember(large, digest_of_file(large))
    falsify(known)
    stat, data = large.stat(), bytearray(large.read_bytes())
    data[7] = 1
    large.write_bytes(data)
    os.utime(large, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert large.stat().st_size == stat.st_size
    assert known.digest(large) == digest_of_file(large)


def test_a_file_written_a_moment_ago_is_not_remembered(large: Path, known: Fingerprints) -> None:
    assert known.digest(large) == digest_of_file(large)
    assert not known.root.exists()


def test_a_settled_file_is_remembered(large: Path, known: Fingerprints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivetrain.store.fingerprints.SETTLED_NS", -OLD_NS)
    known.digest(large)
    falsify(known)
    assert known.digest(large) == "remembered"
    known.forget(large)
    assert known.digest(large) == digest_of_file(large)


def test_a_small_file_is_always_read(tmp_path: Path, known: Fingerprints) -> None:
    small = tmp_path / "small.bin"
    small.write_bytes(b"a")
    known.remember(small, "remembered")
    assert known.digest(small) == digest_of_file(small)

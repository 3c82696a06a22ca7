"""A bit that flipped in the file of an artifact is noticed when it is read, and never used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.bench import STEPS, Bench, result, right

from drivetrain.errors import CorruptArtifact
from drivetrain.pipeline.run import StepRun
from drivetrain.store.artifact import Artifact
from drivetrain.store.files import FileArtifacts
from drivetrain.store.store import Store

READERS = {"rows": "table", "table": "array", "array": "text", "text": "total"}


def place_of(store: Path, artifact: Artifact) -> Path:
    return store / "artifacts" / "sha256" / artifact.digest[7:9] / artifact.digest[9:]


def flip(path: Path, at: int, *, bit: int = 0) -> None:
    """Change one bit of a file, and leave the moment of its last change as it was."""
    state = path.stat()
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.fixture
def outputs(bench: Bench) -> Iterator[dict[str, Artifact]]:
    assert bench.run().code == 0
    store = Store.open(bench.store)
    yield {name: kept for step in store.ledger.find(StepRun) for name, kept in step.outputs.items()}
    store.close()


def test_a_flipped_bit_in_any_byte_of_any_artifact_is_noticed(bench: Bench, outputs: dict[str, Artifact]) -> None:
    store = Store.open(bench.store)
    assert outputs.keys() == set(STEPS)
    for artifact in outputs.values():
        path = place_of(bench.store, artifact)
        # The store has seen it whole, and the clock of its file tells nothing.
        store.value(artifact)
        for at in range(artifact.size_bytes):
            flip(path, at, bit=at % 8)
            for read in (store.value, lambda kept: store.artifacts.get(kept.digest)):
                with pytest.raises(CorruptArtifact):
                    read(artifact)
            flip(path, at, bit=at % 8)
        store.value(artifact)
    store.close()


@pytest.mark.parametrize("damaged", READERS)
def test_the_step_that_gave_a_damaged_artifact_runs_again(
    bench: Bench, outputs: dict[str, Artifact], damaged: str
) -> None:
    path = place_of(bench.store, outputs[damaged])
    flip(path, outputs[damaged].size_bytes // 2)

    mended = bench.run("--force", READERS[damaged])

    assert mended.code == 0, mended.out
    assert {damaged, READERS[damaged]} <= mended.finished
    assert result(bench.store) == right()


def test_what_is_put_again_replaces_a_damaged_file(tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path)
    digest = artifacts.put(b"a table of numbers")
    path = tmp_path / "sha256" / digest[7:9] / digest[9:]
    flip(path, 3)

    artifacts.put(b"a table of numbers")
    flip_again = tmp_path / "copy"
    flip_again.write_bytes(artifacts.get(digest))
    flip(path, 3)
    artifacts.adopt(flip_again)

    assert artifacts.get(digest) == b"a table of numbers"

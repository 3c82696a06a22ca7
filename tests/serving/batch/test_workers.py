"""Workers and whole jobs that are killed, run out of disk or memory: nothing is lost, doubled or half there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from tests.serving.world import ROOT, register, rows, wait_until

from drivetrain.errors import BadRow, DrivetrainError, StepCrashed, StoreUnavailable
from drivetrain.registry.bundle import pack
from drivetrain.serving.batch import Batch, score
from drivetrain.serving.batch.history import jobs_of
from drivetrain.serving.batch.job import BatchPart, Settings
from drivetrain.store.store import Store
from drivetrain.system.load import load_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.registry.version import Version

SYSTEM = """
import os
import time
from pathlib import Path

import polars as pl
import drivetrain as dt

PLACE = Path({place!r})

@dt.dataset(key="ticket", time="asked_at", label="is_late")
def tickets() -> pl.LazyFrame: ...

@dt.features
def asked(tickets: pl.DataFrame) -> pl.DataFrame:
    if "t-250" in tickets["ticket"]:
        {in_the_third_part}
    return tickets.select("ticket", "distance", "stops", "wind")
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store.open(tmp_path_factory.mktemp("store"))
    yield opened
    opened.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows(300).write_parquet(tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def that_does(store: Store, folder: Path, what: str, number: int) -> Version:
    """Register a version whose features function does something in the part with row 250."""
    path = folder / f"tickets_system_{number}.py"
    path.write_text(SYSTEM.format(place=str(folder), in_the_third_part=what))
    code = pack(load_system(path), folder, store)
    return register(store, number, artifact=register(store, 1).artifact, code=code, features="asked", dataset="tickets")


def batch(store: Store, version: Version, source: Path, output: Path, *, ray: str = "", **settings: Any) -> Batch:
    chosen = Settings(**{"part_rows": 60, **settings})
    return Batch(store, version, source=str(source), output=str(output), settings=chosen, workers=2, ray=ray)


def holds_all(path: Path, store: Store) -> bool:
    """Return whether an output has each row once, in order, with its answer."""
    found = pl.read_parquet(path)
    expected = score(store, register(store, 1), rows(300))["prediction"]
    return found["ticket"].to_list() == rows(300)["ticket"].to_list() and bool(
        (found["prediction"] - expected).abs().max() < 1e-9  # type: ignore[operator]  # there are rows
    )


def test_a_worker_that_is_killed_is_replaced_and_its_part_done_again(
    store: Store, tmp_path: Path, source: Path
) -> None:
    once = "if not (PLACE / 'been').exists(): (PLACE / 'been').touch(); os.kill(os.getpid(), 9)"
    version = that_does(store, tmp_path, once, 2)

    job = batch(store, version, source, tmp_path / "out.parquet").run()

    assert (tmp_path / "been").exists()
    assert (job.rows, job.parts_done) == (300, 5)
    assert pl.read_parquet(tmp_path / "out.parquet")["ticket"].to_list() == rows(300)["ticket"].to_list()


def test_a_part_that_kills_its_workers_twice_ends_the_job_which_goes_on_later(
    store: Store, tmp_path: Path, source: Path
) -> None:
    (tmp_path / "broken").touch()
    version = that_does(store, tmp_path, "if (PLACE / 'broken').exists(): os.kill(os.getpid(), 9)", 3)

    with pytest.raises(StepCrashed, match=r"part 4 \(in.parquet\).*SIGKILL") as caught:
        batch(store, version, source, tmp_path / "out.parquet").run()
    failed = jobs_of(store)[0]
    (tmp_path / "broken").unlink()
    job = batch(store, version, source, tmp_path / "out.parquet").run()

    assert "--workers 1" in caught.value.remedy
    assert (failed.state, failed.parts_done > 0) == ("failed", True)
    assert (job.id, job.rows) == (failed.id, 300)


def test_a_row_that_breaks_the_features_function_is_named_and_can_be_left_out(
    store: Store, tmp_path: Path, source: Path
) -> None:
    version = that_does(store, tmp_path, "raise ValueError('a strange ticket')", 4)

    with pytest.raises(BadRow, match=r"row 250 of in.parquet: found ValueError: a strange ticket"):
        batch(store, version, source, tmp_path / "out.parquet").run()
    job = batch(store, version, source, tmp_path / "out.parquet", on_bad_row="skip").run()

    assert (job.rows, job.rejected) == (299, 1)
    assert '"row":250' in (tmp_path / "out.rejects.ndjson").read_text()


def test_a_job_that_is_killed_goes_on_and_nothing_is_lost_or_doubled(
    store: Store, tmp_path: Path, source: Path
) -> None:
    version = that_does(store, tmp_path, "if not (PLACE / 'go').exists(): time.sleep(60)", 5)
    program = f"""
from pathlib import Path
from drivetrain.registry.registry import version
from drivetrain.serving.batch import Batch
from drivetrain.serving.batch.job import Settings
from drivetrain.store.store import Store
store = Store.open(Path({str(store.root)!r}))
Batch(store, version(store.ledger, "late@5"), source={str(source)!r}, output={str(tmp_path / "out.parquet")!r},
      settings=Settings(part_rows=60), workers=2).run()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        wait_until(
            lambda: jobs_of(store) and jobs_of(store)[0].version == "late@5" and jobs_of(store)[0].parts_done == 4, 60
        )
        assert jobs_of(store)[0].state == "running"
        workers = children(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    killed = jobs_of(store)[0]
    before = store.ledger.find(BatchPart, {"job": killed.id})
    (tmp_path / "go").touch()

    job = batch(store, version, source, tmp_path / "out.parquet").run()

    assert len(workers) == 2
    assert killed.state == "interrupted"
    assert (job.id, job.rows, job.parts_done) == (killed.id, 300, 5)
    after = store.ledger.find(BatchPart, {"job": killed.id})
    assert [part for part in after if part.number != 4] == before
    assert holds_all(tmp_path / "out.parquet", store)
    assert {path.name for path in tmp_path.iterdir()} >= {"in.parquet", "out.parquet"}
    assert not list(tmp_path.glob(".out*"))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_full_disk_is_told_and_the_job_goes_on_when_there_is_room(store: Store, tmp_path: Path, source: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.decode()}")
    try:
        wanted = batch(store, register(store, 1), source, place / "out.parquet")
        with pytest.raises(StoreUnavailable, match="disk is full"):
            wanted.run()
        failed = jobs_of(store)[0]
        assert not (place / "out.parquet").exists()
        subprocess.run(["mount", "-o", "remount,size=10m", str(place)], check=True)

        job = wanted.run()

        assert (failed.state, job.id, job.rows) == ("failed", failed.id, 300)
        assert failed.parts_done > 0
        assert holds_all(place / "out.parquet", store)
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_file_far_larger_than_the_memory_that_is_held(store: Store, tmp_path: Path) -> None:
    wide = pl.concat([rows(10_000)] * 300).with_columns(
        (pl.int_range(pl.len()) * (number + 1) % 1_000_003).alias(f"more_{number}") for number in range(20)
    )
    wide.write_parquet(tmp_path / "in.parquet", row_group_size=100_000)
    size_mib = wide.estimated_size("mb")
    del wide

    small = batch(store, register(store, 1), tmp_path / "in.parquet", tmp_path / "a.parquet", limit=10_000)
    base = small.run().peak_mib
    job = batch(store, register(store, 1), tmp_path / "in.parquet", tmp_path / "b.parquet", part_rows=500_000).run()

    assert job.rows == 3_000_000
    assert size_mib > 500
    assert job.peak_mib < base + 250


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_parts_are_carried_out_on_ray(
    store: Store, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    once = "if not (PLACE / 'been').exists(): (PLACE / 'been').touch(); os.kill(os.getpid(), 9)"
    version = that_does(store, tmp_path, once, 6)
    broken = that_does(store, tmp_path, "raise ValueError('a strange ticket')", 7)

    job = batch(store, version, source, tmp_path / "out.parquet", ray="local").run()

    assert (job.rows, job.parts_done) == (300, 5)
    assert holds_all(tmp_path / "out.parquet", store)
    with pytest.raises(DrivetrainError, match="row 250 of in"):
        batch(store, broken, source, tmp_path / "out2.parquet", ray="local").run()

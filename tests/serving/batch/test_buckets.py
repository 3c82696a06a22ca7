"""Jobs from and into buckets, against an S3 server, and from a table of a PostgreSQL server."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from tests.serving.batch.test_run import Stops, batch
from tests.serving.world import free_port, register, rows, wait_until

from drivetrain.errors import BadRow, NotFound, StoreUnavailable, UsageError
from drivetrain.serving.batch import score
from drivetrain.serving.batch.history import jobs_of
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.registry.version import Version


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store.open(tmp_path_factory.mktemp("store"), durable=False)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def version(store: Store) -> Version:
    return register(store, 1)


@pytest.fixture(scope="module")
def expected(store: Store, version: Version) -> list[float]:
    found: list[float] = score(store, version, rows(300))["prediction"].to_list()
    return found


def put(bucket: Any, key: str, frame: pl.DataFrame) -> None:
    buffer = io.BytesIO()
    if key.endswith(".parquet"):
        frame.write_parquet(buffer)
    else:
        frame.write_csv(buffer)
    data = buffer.getvalue()
    bucket.put(key, gzip.compress(data) if key.endswith(".gz") else data)


def got(bucket: Any, key: str) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(bytes(bucket.get(key).bytes())))


def keys(bucket: Any) -> list[str]:
    return sorted(meta["path"] for found in bucket.list() for meta in found)


def test_a_folder_in_a_bucket_is_answered_into_one_object(
    store: Store, version: Version, expected: list[float], bucket: Any
) -> None:
    frame = rows(300)
    put(bucket, "in/month=1/a.parquet", frame[:100])
    put(bucket, "in/month=2/a.csv", frame[100:200])
    put(bucket, "in/month=2/b.csv.gz", frame[200:])

    # The CSV files' own columns are text, also those that the version does not take.
    job = batch(store, version, "s3://rows/in/", "s3://rows/out.parquet", columns=("month",), part_rows=60).run()

    found = got(bucket, "out.parquet")
    assert (job.rows, job.parts) == (300, 4)
    assert found["prediction"].to_list() == pytest.approx(expected)
    assert found["month"].to_list() == [1] * 100 + [2] * 200
    with pytest.raises(UsageError, match="is there already, by batch-"):
        batch(store, version, "s3://rows/in/", "s3://rows/out.parquet").run()


def test_a_job_into_a_folder_of_a_bucket_goes_on(
    store: Store, version: Version, expected: list[float], bucket: Any, tmp_path: Path
) -> None:
    rows(300).with_columns(stops=pl.when(pl.int_range(pl.len()) == 250).then(None).otherwise("stops")).write_parquet(
        tmp_path / "in.parquet"
    )
    wanted = batch(
        store, version, tmp_path / "in.parquet", "s3://rows/out", part_rows=60, on_bad_row="skip", format="parquet"
    )
    with pytest.raises(KeyboardInterrupt):
        wanted.run(Stops(2))
    half = keys(bucket)

    job = wanted.run(watch := Stops(1_000))

    assert 2 <= len(half) <= 3
    assert watch.finished == 3
    assert keys(bucket) == ["out.rejects.ndjson", *(f"out/in-{number:05}.parquet" for number in range(5))]
    found = pl.concat([got(bucket, key) for key in keys(bucket)[1:]])
    assert (job.rows, job.rejected) == (299, 1)
    assert found["prediction"].to_list() == pytest.approx(expected[:250] + expected[251:])
    assert b'"row":250' in bytes(bucket.get("out.rejects.ndjson").bytes())
    again = batch(store, version, tmp_path / "in.parquet", "s3://rows/out", on_bad_row="skip")
    with pytest.raises(UsageError, match="is there already"):
        again.run()
    again.run(overwrite=True)
    assert keys(bucket) == ["out.rejects.ndjson", "out/in.parquet"]


def test_a_pattern_in_a_bucket_and_what_is_not_there(
    store: Store, version: Version, bucket: Any, tmp_path: Path
) -> None:
    for number in range(3):
        put(bucket, f"in/rows-{number}.parquet", rows(300)[number * 100 : number * 100 + 100])

    job = batch(store, version, "s3://rows/in/rows-[01].parquet", tmp_path / "out.csv").run()

    assert job.rows == 200
    with pytest.raises(NotFound, match="object"):
        batch(store, version, "s3://rows/nothing/", tmp_path / "none.csv").run()
    with pytest.raises(StoreUnavailable, match=r"s3://elsewhere/x.csv cannot be reached"):
        batch(store, version, "s3://elsewhere/x.csv", tmp_path / "none.csv").run()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a PostgreSQL server with a table of rows."""
    pytest.importorskip("adbc_driver_postgresql", reason="adbc-driver-postgresql is not installed")
    if shutil.which("initdb") is None:
        pytest.skip("there is no PostgreSQL here")
    from adbc_driver_postgresql import dbapi

    folder = tmp_path_factory.mktemp("postgres")
    data, port = folder / "data", free_port()
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        for each in (folder, *folder.parents):
            if each == Path(tempfile.gettempdir()):
                break
            each.chmod(0o755)
        shutil.chown(folder, "postgres")
        as_user = {"user": "postgres"}
    subprocess.run(
        ["initdb", "-D", data, "-U", "ann", "-A", "trust", "--no-sync"], check=True, capture_output=True, **as_user
    )
    command = ["postgres", "-D", str(data), "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user)
    url = f"postgresql://ann:secret@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        try:
            dbapi.connect(url).close()
        except dbapi.Error:
            return False
        return True

    try:
        wait_until(answers, 60)
        frame = rows(300).with_columns(pl.col("distance").cast(pl.Decimal(10, 2)))
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE visits (ticket text, asked_at timestamp, distance numeric, stops int, is_new bool, "
                "city text, day date, wind double precision)"
            )
            cursor.adbc_ingest("staging", frame.with_columns(pl.col("distance").cast(pl.Float64)).to_arrow())
            cursor.execute(f"INSERT INTO visits SELECT {', '.join(frame.columns)} FROM staging")
            connection.commit()
        yield url
    finally:
        process.kill()
        process.wait()


def test_a_table_of_postgresql_is_answered(
    store: Store, version: Version, expected: list[float], postgres: str, tmp_path: Path
) -> None:
    query = "SELECT * FROM visits ORDER BY length(ticket), ticket".replace(" ", "+")

    job = batch(store, version, f"{postgres}?query={query}", tmp_path / "out.parquet", part_rows=100).run()

    found = pl.read_parquet(tmp_path / "out.parquet")
    assert (job.rows, job.parts) == (300, 3)
    assert found["prediction"].to_list() == pytest.approx(expected)
    assert found.schema["distance"] == pl.Float64
    assert "secret" not in str(jobs_of(store)[0])
    job = batch(store, version, f"{postgres}?table=visits", tmp_path / "table.csv").run()
    assert job.rows == 300
    with pytest.raises(UsageError, match='relation "nothing" does not exist'):
        batch(store, version, f"{postgres}?table=nothing", tmp_path / "none.csv").run()
    broken = "SELECT ticket,asked_at,distance,NULL::int+AS+stops,is_new,city,day,wind+FROM+visits".replace(" ", "+")
    with pytest.raises(BadRow, match="field 'stops': found null"):
        batch(store, version, f"{postgres}?query={broken}", tmp_path / "none.csv").run()
    with pytest.raises(StoreUnavailable, match=r"postgresql://ann@127.0.0.1:1/x.* cannot be reached"):
        batch(store, version, "postgresql://ann:secret@127.0.0.1:1/x?table=y", tmp_path / "none.csv").run()

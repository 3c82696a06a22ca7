"""Jobs from their rows to their output: formats, order, resuming, bad rows, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from tests.serving.world import promote, register, rows

from drivetrain.errors import BadRow, NotFound, Refused, UsageError
from drivetrain.security.event import Event
from drivetrain.serving.batch import Batch, score
from drivetrain.serving.batch.history import jobs_of
from drivetrain.serving.batch.job import BatchJob, BatchPart, Settings
from drivetrain.serving.batch.run import Watch
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.registry.version import Version

ANSWERS = ["prediction", "version"]
SUFFIXES = [".parquet", ".arrow", ".csv", ".tsv", ".ndjson", ".csv.gz", ".ndjson.gz"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store.open(tmp_path_factory.mktemp("store"), durable=False)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def version(store: Store) -> Version:
    found = register(store, 1)
    promote(store, found)
    return found


@pytest.fixture(scope="module")
def expected(store: Store, version: Version) -> list[float]:
    """Return the answers to `rows(300)`."""
    found: list[float] = score(store, version, rows(300))["prediction"].to_list()
    return found


def write(frame: pl.DataFrame, path: Path) -> Path:
    """Write rows in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    match plain.suffix:
        case ".parquet":
            frame.write_parquet(plain)
        case ".arrow":
            frame.write_ipc(plain)
        case ".csv":
            frame.write_csv(plain)
        case ".tsv":
            frame.write_csv(plain, separator="\t")
        case _:
            frame.write_ndjson(plain)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


def read(path: Path) -> pl.DataFrame:
    """Read what a job wrote."""
    plain = path.name.removesuffix(".gz")
    if plain.endswith(".parquet"):
        return pl.read_parquet(path)
    if plain.endswith(".arrow"):
        return pl.read_ipc(path)
    if plain.endswith(".ndjson"):
        return pl.read_ndjson(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path)
    return pl.read_csv(path, separator="\t" if plain.endswith(".tsv") else ",")


def batch(
    store: Store, version: Version, source: Path | str, output: Path | str, *, workers: int = 1, **settings: Any
) -> Batch:
    chosen = Settings(**{"part_rows": 1_000_000, **settings})
    return Batch(store, version, source=str(source), output=str(output), settings=chosen, workers=workers)


class Stops(Watch):
    """Stops a job when some of its parts are finished, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self.left, self.read_rows, self.finished = after, 0, 0

    def read(self, rows: int) -> None:
        self.read_rows += rows

    def finish(self, part: BatchPart) -> None:
        self.finished += 1
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("kind", "into"), [*((kind, ".parquet") for kind in SUFFIXES), *((kind, kind) for kind in SUFFIXES[1:]),
                       (".parquet", ".csv"), (".csv", ".ndjson"), (".ndjson.gz", ".tsv"), (".arrow", ".csv.gz")]
)  # fmt: skip
def test_a_format_goes_into_another(
    store: Store, version: Version, expected: list[float], tmp_path: Path, kind: str, into: str
) -> None:
    frame = rows(300).with_columns(note=pl.format('a "word", {}\nand another', pl.int_range(pl.len())))
    source = write(frame, tmp_path / f"in{kind}")

    job = batch(store, version, source, tmp_path / f"out{into}").run()

    found = read(tmp_path / f"out{into}")
    assert (job.rows, job.rejected, job.state) == (300, 0, "finished")
    assert found.columns == [*frame.columns, *ANSWERS]
    assert found["prediction"].to_list() == pytest.approx(expected)
    assert found["ticket"].to_list() == frame["ticket"].to_list()
    assert found["note"].to_list() == frame["note"].to_list()
    assert set(found["version"]) == {version.id}
    assert set(os.listdir(tmp_path)) == {f"in{kind}", f"out{into}"}


@pytest.mark.parametrize(
    ("kind", "into"), [(".parquet", ".parquet"), (".csv", ".csv"), (".ndjson", ".ndjson.gz"), (".arrow", ".arrow")]
)
def test_parts_are_put_together_in_the_order_of_the_rows(
    store: Store, version: Version, expected: list[float], tmp_path: Path, kind: str, into: str
) -> None:
    frame = rows(300).with_columns(note=pl.lit('a "word",\nand another'))
    source = write(frame, tmp_path / f"in{kind}")
    wanted = batch(store, version, source, tmp_path / f"out{into}", part_rows=40)
    with pytest.raises(KeyboardInterrupt):
        wanted.run(Stops(2))
    assert not (tmp_path / f"out{into}").exists()

    job = wanted.run(watch := Stops(1_000))

    found = read(tmp_path / f"out{into}")
    assert job.parts_done == job.parts > 5
    assert watch.finished == job.parts - 2
    assert found["prediction"].to_list() == pytest.approx(expected)
    assert found["ticket"].to_list() == frame["ticket"].to_list()


def test_a_folder_gives_a_file_for_each_of_its_files(
    store: Store, version: Version, expected: list[float], tmp_path: Path
) -> None:
    frame = rows(300).drop("city")
    write(frame[:100], tmp_path / "in/city=Oslo/day=1/a.parquet")
    write(frame[100:250], tmp_path / "in/city=Oslo/day=2/a.csv")
    write(frame[250:], tmp_path / "in/city=New%20York/day=1/a.parquet")
    (tmp_path / "in/_SUCCESS").write_text("")

    # The folders' `day` is a number, and the version wants a date: it comes from the files then.
    with pytest.raises(UsageError, match="'day'"):
        batch(store, version, tmp_path / "in", tmp_path / "out").run()
    for path in sorted((tmp_path / "in").rglob("day=*")):
        path.rename(path.with_name(path.name.replace("day", "month")))
    job = batch(store, version, tmp_path / "in", tmp_path / "out", part_rows=60).run()

    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.parquet"))
    assert found == [
        "city=New%20York/month=1/a.parquet",
        "city=Oslo/month=1/a-00000.parquet",
        "city=Oslo/month=1/a-00001.parquet",
        *(f"city=Oslo/month=2/a-{number:05}.parquet" for number in range(len(found) - 3)),
    ]
    assert job.parts == len(found) > 4
    whole = pl.concat([pl.read_parquet(tmp_path / "out" / each, hive_partitioning=False) for each in found])
    assert whole["city"].to_list() == ["New York"] * 50 + ["Oslo"] * 250
    assert set(whole["month"]) == {1, 2}
    assert whole["prediction"].to_list() == pytest.approx(expected[250:] + expected[:250])


def test_a_pattern_a_limit_and_few_columns(
    store: Store, version: Version, expected: list[float], tmp_path: Path
) -> None:
    for number in range(3):
        write(rows(300)[number * 100 : number * 100 + 100], tmp_path / f"rows-{number}.csv")

    job = batch(
        store, version, tmp_path / "rows-*.csv", tmp_path / "out.parquet", limit=130, columns=("city", "ticket")
    ).run()

    found = pl.read_parquet(tmp_path / "out.parquet")
    assert job.rows == 130
    assert found.columns == ["city", "ticket", *ANSWERS]
    assert found["prediction"].to_list() == pytest.approx(expected[:130])
    batch(store, version, tmp_path / "rows-1.csv", tmp_path / "bare.ndjson", columns=()).run()
    assert pl.read_ndjson(tmp_path / "bare.ndjson").columns == ANSWERS


def test_what_would_be_done_is_told_and_not_done(store: Store, version: Version, tmp_path: Path) -> None:
    source = write(rows(300).drop("stops"), tmp_path / "in.parquet")

    found = batch(store, version, source, tmp_path / "out.parquet", part_rows=100).preview()

    assert (found.rows, found.parts, found.files, found.is_taken) == (300, 3, 1, False)
    assert found.missing == {"in.parquet": ["stops"]}
    assert os.listdir(tmp_path) == ["in.parquet"]
    with pytest.raises(UsageError, match=r"needs the column 'stops', which in.parquet does not have"):
        batch(store, version, source, tmp_path / "out.parquet").run()


def test_an_output_that_is_there_is_refused_and_replaced_when_asked(
    store: Store, version: Version, tmp_path: Path
) -> None:
    source = write(rows(20), tmp_path / "in.parquet")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("years of work")
    for output in ("out.csv", "out"):
        first = batch(store, version, source, tmp_path / output, format="csv").run()
        write(rows(30), source)

        with pytest.raises(UsageError, match=f"is there already, by {first.id} with late@1"):
            batch(store, version, source, tmp_path / output, format="csv").run()
        job = batch(store, version, source, tmp_path / output, format="csv").run(overwrite=True)

        assert job.id != first.id
        assert pl.read_csv(tmp_path / output / "in.csv" if output == "out" else tmp_path / output).height == 30
        write(rows(20), source)
    with pytest.raises(Refused, match="no batch job has written"):
        batch(store, version, source, tmp_path / "precious").run(overwrite=True)
    assert (tmp_path / "precious/thesis.txt").read_text() == "years of work"


def test_a_changed_file_and_another_version_are_new_jobs(store: Store, version: Version, tmp_path: Path) -> None:
    second = register(store, 2)
    source = write(rows(300), tmp_path / "in.parquet")
    ids = set()

    def stopped(which: Version) -> None:
        with pytest.raises(KeyboardInterrupt):
            batch(store, which, source, tmp_path / "out.parquet", part_rows=100).run(Stops(2))
        ids.add(jobs_of(store)[0].id)

    stopped(version)
    stopped(second)
    write(rows(299).reverse(), source)
    stopped(second)
    assert len(ids) == 3
    job = batch(store, second, source, tmp_path / "out.parquet", part_rows=100).run()

    found = pl.read_parquet(tmp_path / "out.parquet")
    assert job.id in ids
    assert found["prediction"].to_list() == score(store, second, rows(299).reverse())["prediction"].to_list()
    assert sorted(os.listdir(tmp_path)) == ["in.parquet", "out.parquet"]
    assert [each.state for each in jobs_of(store)[:3]] == ["finished", "superseded", "superseded"]


def test_a_finished_part_that_was_damaged_is_done_again(
    store: Store, version: Version, expected: list[float], tmp_path: Path
) -> None:
    source = write(rows(300), tmp_path / "in.parquet")
    wanted = batch(store, version, source, tmp_path / "out.parquet", part_rows=100)
    with pytest.raises(KeyboardInterrupt):
        wanted.run(Stops(2))
    job = jobs_of(store)[0]
    part = store.ledger.find(BatchPart, {"job": job.id})[0]
    Path(part.path).write_bytes(b"not what was written")

    wanted.run(watch := Stops(1_000))

    assert watch.finished == 2
    assert pl.read_parquet(tmp_path / "out.parquet")["prediction"].to_list() == pytest.approx(expected)


BAD = {2: ("stops", None), 5: ("stops", "many"), 6: ("distance", "far"), 250: ("asked_at", "noon")}


def with_bad_rows(path: Path) -> Path:
    """Write rows of which four do not fit, as text."""
    frame = rows(300).with_columns(pl.col("stops", "distance", "asked_at").cast(pl.String))
    for row, (field, value) in BAD.items():
        frame = frame.with_columns(
            pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(field).alias(field)
        )
    return write(frame, path)


@pytest.mark.parametrize("kind", [".csv", ".ndjson"])
@pytest.mark.parametrize("part_rows", [40, 1_000_000])
def test_a_bad_row_fails_is_skipped_or_is_kept(
    store: Store, version: Version, expected: list[float], tmp_path: Path, kind: str, part_rows: int
) -> None:
    source = with_bad_rows(tmp_path / f"in{kind}")

    with pytest.raises(BadRow, match=f"row 2 of in{kind}, field 'stops'") as caught:
        batch(store, version, source, tmp_path / "out.parquet", part_rows=part_rows).run()
    skipped = batch(store, version, source, tmp_path / "skip.parquet", on_bad_row="skip", part_rows=part_rows).run()
    kept = batch(store, version, source, tmp_path / "keep.parquet", on_bad_row="keep", part_rows=part_rows).run()

    assert caught.value.exit_code == 2
    good = [row for row in range(300) if row not in BAD]
    found = pl.read_parquet(tmp_path / "skip.parquet")
    assert (skipped.rows, skipped.rejected) == (296, 4)
    assert found["ticket"].to_list() == [f"t-{row}" for row in good]
    assert found["prediction"].to_list() == pytest.approx([expected[row] for row in good])
    found = pl.read_parquet(tmp_path / "keep.parquet")
    assert (kept.rows, kept.rejected) == (300, 4)
    assert found["ticket"].to_list() == [f"t-{row}" for row in range(300)]
    assert [row for row, value in enumerate(found["prediction"]) if value is None] == list(BAD)
    for name in ("skip", "keep"):
        told = pl.read_ndjson(tmp_path / f"{name}.rejects.ndjson")
        assert list(zip(told["row"], told["field"], strict=True)) == [(row, field) for row, (field, _) in BAD.items()]
        assert told["found"].to_list() == ["null", '"many"', '"far"', '"noon"']


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_the_jobs_of_two_days_keep_their_bad_rows_apart(
    store: Store, version: Version, tmp_path: Path, ending: str
) -> None:
    source = with_bad_rows(tmp_path / "in.csv")

    for day in ("2026-11-01", "2026-11-02"):
        batch(store, version, source, tmp_path / f"scored.{day}{ending}", on_bad_row="skip").run()

    told = sorted(path.name for path in tmp_path.glob("*.rejects.ndjson"))
    assert told == ["scored.2026-11-01.rejects.ndjson", "scored.2026-11-02.rejects.ndjson"]


def test_finished_parts_stay_when_bad_rows_may_be_skipped_after_all(
    store: Store, version: Version, tmp_path: Path
) -> None:
    frame = rows(300).with_columns(stops=pl.when(pl.int_range(pl.len()) == 250).then(None).otherwise("stops"))
    source = write(frame, tmp_path / "in.parquet")

    with pytest.raises(BadRow, match="row 250 of in"):
        batch(store, version, source, tmp_path / "out.parquet", part_rows=100).run()
    job = batch(store, version, source, tmp_path / "out.parquet", part_rows=100, on_bad_row="skip").run(
        watch := Stops(1_000)
    )

    assert (watch.finished, job.rows, job.rejected) == (1, 299, 1)


def test_records_that_cannot_be_read_are_bad_rows(
    store: Store, version: Version, expected: list[float], tmp_path: Path
) -> None:
    for kind, broken in (
        (".csv", b"1,2,3,4,5,6,7,8,9,10\n"),
        (".ndjson", b'{"ticket": \n'),
        (".csv", b"\xff,,,,,,,\n"),
    ):
        source = write(rows(300), tmp_path / f"in{kind}")
        lines = source.read_bytes().splitlines(keepends=True)
        header = int(kind == ".csv")
        lines.insert(header + 100, broken)
        source.write_bytes(b"".join(lines))

        with pytest.raises(BadRow, match="row 100 of in"):
            batch(store, version, source, tmp_path / "out.parquet", part_rows=40).run()
        job = batch(store, version, source, tmp_path / "out.parquet", part_rows=40, on_bad_row="skip").run()

        found = pl.read_parquet(tmp_path / "out.parquet")
        assert (job.rows, job.rejected) == (300, 1)
        assert found["prediction"].to_list() == pytest.approx(expected)
        told = json.loads((tmp_path / "out.rejects.ndjson").read_text())
        assert (told["row"], told["wanted"]) == (100, "a record that can be read")
        (tmp_path / "out.parquet").unlink()


def test_a_table_of_sqlite_is_read_once(store: Store, version: Version, expected: list[float], tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        frame = rows(300).with_columns(pl.col("asked_at", "day").cast(pl.String))
        connection.execute(f'CREATE TABLE "visits" ({", ".join(frame.columns)})')
        connection.executemany(f"INSERT INTO visits VALUES ({','.join('?' * frame.width)})", frame.rows())
        connection.commit()
        wanted = batch(
            store, version, f"sqlite:///{tmp_path}/shop.db?table=visits", tmp_path / "out.csv", part_rows=100
        )
        with pytest.raises(KeyboardInterrupt):
            wanted.run(Stops(1))
        connection.execute("DELETE FROM visits")
        connection.commit()

    job = wanted.run()

    found = pl.read_csv(tmp_path / "out.csv")
    assert (job.rows, job.parts) == (300, 3)
    assert found["prediction"].to_list() == pytest.approx(expected)
    with pytest.raises(UsageError, match="names no table"):
        batch(store, version, f"sqlite:///{tmp_path}/shop.db", tmp_path / "o.csv").run()
    with pytest.raises(UsageError, match="no such table"):
        batch(store, version, f"sqlite:///{tmp_path}/shop.db?table=x", tmp_path / "o.csv").run()
    with pytest.raises(NotFound, match="database"):
        batch(store, version, f"sqlite:///{tmp_path}/none.db?table=x", tmp_path / "o.csv").run()


def test_what_is_not_there_is_named(store: Store, version: Version, tmp_path: Path) -> None:
    write(rows(3), tmp_path / "rows.csv")
    (tmp_path / "rows.xlsx").write_bytes(b"")

    for source, told in (
        ("row.csv", "did you mean rows.csv"),
        ("rows.xlsx", "no suffix that tells its format"),
        (".", "rows.csv"),
    ):
        if source != ".":
            with pytest.raises(UsageError) as caught:
                batch(store, version, tmp_path / source, tmp_path / "out.csv").run()
            assert told in str(caught.value)
    for output in ("out.xlsx", "ftp://host/out.csv"):
        with pytest.raises(UsageError):
            batch(store, version, tmp_path / "rows.csv", output if "://" in output else tmp_path / output)
    with pytest.raises(UsageError, match="cannot be read"):
        batch(store, version, "http://host/rows.csv", tmp_path / "out.csv").run()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"broken.parquet cannot be read as parquet"):
        batch(store, version, tmp_path / "broken.parquet", tmp_path / "out.csv").run()
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    with pytest.raises(UsageError, match="two columns named 'a'"):
        batch(store, version, tmp_path / "twice.csv", tmp_path / "out.csv").run()
    write(rows(3).with_columns(prediction=0.5), tmp_path / "again.parquet")
    with pytest.raises(UsageError, match="has a column 'prediction', as the output will"):
        batch(store, version, tmp_path / "again.parquet", tmp_path / "out.csv").run()


def test_the_job_and_its_events_are_remembered(store: Store, version: Version, tmp_path: Path) -> None:
    source = write(rows(20), tmp_path / "in.parquet")

    job = batch(store, version, source, tmp_path / "out.parquet").run()

    kept = store.ledger.get(BatchJob, job.id)
    assert kept == job
    told = [event.kind for event in store.ledger.find(Event, {"subject": job.id}, order="number")]
    assert told == ["batch.started", "batch.finished"]
    assert job.peak_mib > 10


def test_two_never_write_one_output(store: Store, version: Version, tmp_path: Path) -> None:
    source = write(rows(300), tmp_path / "in.parquet")
    seen = []

    class Asks(Watch):
        def finish(self, part: BatchPart) -> None:
            seen.append(jobs_of(store)[0].state)
            with pytest.raises(Refused, match="another process is writing"):
                batch(store, version, source, tmp_path / "out.parquet").run()

    batch(store, version, source, tmp_path / "out.parquet").run(Asks())

    assert seen == ["running"]

"""Jobs of models that give values: networks, classes, images, engines elsewhere; all that the server can answer for."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import polars as pl
import pytest
from tests.serving.batch.test_run import Stops, batch, read, write
from tests.serving.batch.test_workers import children
from tests.serving.engines import started
from tests.serving.project import Project
from tests.serving.test_ready import graph_bytes
from tests.serving.world import free_port, wait_until

import drivetrain as dt
from drivetrain.errors import BadRow, DrivetrainError, Unreachable, UsageError
from drivetrain.registry.registry import version
from drivetrain.serving.batch import Batch, score
from drivetrain.serving.batch.history import jobs_of
from drivetrain.serving.batch.job import BatchPart, Settings
from drivetrain.store.store import Store

pillow = pytest.importorskip("PIL.Image", reason="needs Pillow")
pytest.importorskip("onnxruntime")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.registry.version import Version

SYSTEM = '''
import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec
import numpy as np

import drivetrain as dt
from drivetrain.errors import RequestError

PLACE = Path({place!r})


class Item(msgspec.Struct):
    name: str
    size: int = 1


class Count(msgspec.Struct):
    letters: int
    names: list[str]
    share: float | None = None


@dt.predictor
class Counts:
    """One at a time; some rows are refused, and on others it fails."""

    def predict(self, text: str, items: list[Item], times: int = 1) -> Count:
        if text == "bad":
            raise RuntimeError("a strange text")
        if text == "refused":
            raise RequestError(status=422, message="such texts are not taken")
        if text == "odd":
            return Count(letters="many", names=[])
        if text == "slow" and not (PLACE / "go").exists():
            time.sleep(60)
        if text == "kills" and not (PLACE / "been").exists():
            (PLACE / "been").touch()
            os.kill(os.getpid(), 9)
        return Count(letters=len(text) * times, names=[each.name for each in items])


@dt.predictor
class Sums:
    """A batch of tensors, of which one dimension is free."""

    def predict(self, x: list[Annotated[np.ndarray, dt.Tensor("int16", (None, 2))]]) -> list[
        Annotated[np.ndarray, dt.Tensor("float32", (2,))]
    ]:
        assert len(x) <= 8
        return [each.sum(axis=0).astype("float32") for each in x]


class Seen(TypedDict):
    colour: list[int]
    size: list[int]


@dt.predictor
class Colours:
    def predict(self, photo: list[Annotated[dt.Image, dt.Images(max_pixels=40_000)]]) -> list[Seen]:
        return [
            {{"colour": [int(each) for each in image.array().mean(axis=(0, 1))], "size": list(image.size)}}
            for image in photo
        ]


@dt.predictor
class Grey:
    def predict(self, photo: dt.Image, note: str = "") -> dt.Image:
        return photo.pillow().convert("L")


@dt.predictor
class Shares:
    async def predict(self, text: str) -> dict[str, float]:
        await asyncio.sleep(0)
        return {{each: text.count(each) / len(text) for each in sorted(set(text))}}


@dt.predictor
class Pieces:
    def predict(self, upto: int) -> Iterator[str]:
        for number in range(upto):
            yield str(number)


lengths = dt.Service(Counts, name="counting")


@dt.predictor
class Twice:
    counting = dt.calls(lengths, Count)

    async def predict(self, text: str) -> int:
        return 2 * (await self.counting({{"text": text, "items": []}})).prediction.letters


graph = dt.onnx("graph.onnx")
models = [Counts, Sums, Colours, Grey, Shares, Pieces, Twice, graph]
gates = [dt.Gate(model, name=f"gate_{{model.name}}") for model in models]
summing = dt.Service(Sums, max_batch=8)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("values")
    made = Project(folder, SYSTEM.format(place=str(folder)), graph__onnx=graph_bytes())
    made.run()
    return made


@pytest.fixture(scope="module")
def store(project: Project) -> Iterator[Store]:
    opened = Store.open(project.folder / ".drivetrain")
    yield opened
    opened.close()


def of(store: Store, model: str) -> Version:
    return version(store.ledger, f"{model}@1")


def texts(count: int) -> pl.DataFrame:
    """Return rows for `Counts`, with a column that it does not take."""
    return pl.DataFrame(
        {
            "id": range(count),
            "text": ["a" * (number % 7 + 1) for number in range(count)],
            "items": [[{"name": f"i{each}", "size": each} for each in range(number % 3)] for number in range(count)],
        }
    )


def counted(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return what `Counts` answers to rows."""
    return [
        {"letters": len(row["text"]), "names": [each["name"] for each in row["items"]], "share": None}
        for row in frame.iter_rows(named=True)
    ]


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (20, 10), form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    pillow.new("RGB", size, colour).save(buffer, form)
    return buffer.getvalue()


def photos(folder: Path, count: int) -> list[str]:
    """Write pictures into a folder, each of another colour, and return their paths in it in order."""
    names = [f"{'cats' if number % 2 else 'dogs'}/{number:03}.png" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture((number, 40, 20)))
    return sorted(names)


@pytest.mark.parametrize("kind", [".parquet", ".arrow", ".ndjson"])
def test_a_class_answers_rows_with_records(store: Store, tmp_path: Path, kind: str) -> None:
    source = write(texts(300), tmp_path / f"in{kind}")

    job = batch(store, of(store, "counts"), source, tmp_path / f"out{kind}", part_rows=70).run()

    found = read(tmp_path / f"out{kind}")
    assert (job.rows, job.rejected, job.parts > 1) == (300, 0, True)
    assert found.columns == ["id", "text", "items", "prediction", "version"]
    assert found["id"].to_list() == list(range(300))
    assert found["prediction"].to_list() == counted(texts(300))
    assert set(found["version"]) == {"counts@1"}


def test_a_csv_file_holds_structures_as_json(store: Store, tmp_path: Path) -> None:
    frame = texts(20).with_columns(
        items=pl.Series([f'[{{"name": "n{number}"}}]' for number in range(20)]), times=pl.lit(2)
    )
    source = write(frame, tmp_path / "in.csv")

    batch(store, of(store, "counts"), source, tmp_path / "out.csv", columns=("id", "times")).run()

    found = pl.read_csv(tmp_path / "out.csv")
    assert found.columns == ["id", "times", "prediction", "version"]
    assert found["prediction"][2] == '{"letters":6,"names":["n2"],"share":null}'


def test_tensors_come_as_lists_or_arrays_and_are_checked(store: Store, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 100, (100, 3, 2))
    frame = pl.DataFrame({"x": numbers.tolist()})
    expected = numbers.sum(axis=1).tolist()
    sources = {
        "list.parquet": frame,
        "array.parquet": frame.cast({"x": pl.Array(pl.Int64, (3, 2))}),
        "lines.ndjson": frame,
        "text.parquet": pl.DataFrame({"x": [str(each) for each in numbers.tolist()]}),
    }
    for name, given in sources.items():
        job = batch(store, of(store, "sums"), write(given, tmp_path / name), tmp_path / f"out-{name}.parquet").run()

        found = pl.read_parquet(tmp_path / f"out-{name}.parquet")
        assert job.rows == 100
        assert found["prediction"].dtype == pl.List(pl.Float32)
        assert found["prediction"].to_list() == expected

    bad = pl.DataFrame({"x": [[[1, 2]], [[1, 2], [3]], [[1, 1 << 20]], None, [], [[5, 6]]]})
    source = write(bad, tmp_path / "bad.parquet")
    with pytest.raises(BadRow, match=r"row 1 of bad.parquet, field 'x': found .*length >= 2 at \$\[1\]"):
        batch(store, of(store, "sums"), source, tmp_path / "bad-out.parquet").run()
    job = batch(store, of(store, "sums"), source, tmp_path / "bad-out.parquet", on_bad_row="keep").run()
    assert (job.rows, job.rejected) == (6, 4)
    assert pl.read_parquet(tmp_path / "bad-out.parquet")["prediction"].to_list() == [
        [1, 2], None, None, None, None, [5, 6]
    ]  # fmt: skip
    rejects = pl.read_ndjson(tmp_path / "bad-out.rejects.ndjson")
    assert rejects["row"].to_list() == [1, 2, 3, 4]
    assert rejects["wanted"][0] == "an array of int16 with the shape (?, 2)"
    assert "32767" in rejects["found"][1]
    with pytest.raises(UsageError, match="the column 'x' is Int64, and sums@1 takes an array of int16"):
        score(store, of(store, "sums"), pl.DataFrame({"x": [1]}))


def test_no_rows_give_an_output_without_rows(store: Store, tmp_path: Path) -> None:
    source = write(pl.DataFrame(schema={"x": pl.List(pl.List(pl.Int64))}), tmp_path / "in.parquet")

    job = batch(store, of(store, "sums"), source, tmp_path / "out.parquet").run()

    assert job.rows == 0
    assert pl.read_parquet(tmp_path / "out.parquet").schema["prediction"] == pl.List(pl.Float32)


def test_a_network_gives_a_column_for_each_output(store: Store, tmp_path: Path) -> None:
    a, b = np.random.default_rng(0).normal(size=(50, 3)), np.ones((50, 2))
    frame = pl.DataFrame({"a": a.tolist(), "b": b.tolist(), "name": [f"r{each}" for each in range(50)]})
    expected = a.astype("float32") @ np.arange(6, dtype="float32").reshape(3, 2) + 1

    batch(store, of(store, "graph"), write(frame, tmp_path / "in.parquet"), tmp_path / "out.parquet").run()
    scored = score(store, of(store, "graph"), frame.cast({"a": pl.Array(pl.Float32, 3)}))

    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found.columns == ["a", "b", "name", "sum", "top", "version"]
    assert found.schema["sum"] == pl.List(pl.Float32)
    assert found.schema["top"] == pl.Float32
    assert np.allclose(found["sum"].to_list(), expected, atol=1e-5)
    assert np.allclose(found["top"], expected.max(axis=1), atol=1e-5)
    assert scored["sum"].to_list() == found["sum"].to_list()
    frame.with_columns(top=pl.lit(1)).write_parquet(tmp_path / "clash.parquet")
    with pytest.raises(UsageError, match="has a column 'top', as the output will"):
        batch(store, of(store, "graph"), tmp_path / "clash.parquet", tmp_path / "o.parquet").run()


def test_the_batch_answers_as_the_server_does(project: Project, store: Store, tmp_path: Path) -> None:
    frame = texts(30)

    scored = score(store, of(store, "counts"), frame)["prediction"].to_list()

    with project.served("counting") as address:
        told = address.predict(frame.drop("id").to_dicts())["predictions"]
    assert [each["prediction"] for each in told] == scored


def test_images_are_bytes_or_paths_below_the_input(store: Store, tmp_path: Path) -> None:
    names = photos(tmp_path / "in", 12)
    blue, noted = picture((0, 0, 200)), "data:image/png;base64,"
    frame = pl.DataFrame({"photo": [*names, base64.b64encode(blue).decode(), noted + base64.b64encode(blue).decode()]})
    frame.write_csv(tmp_path / "in/list.csv")
    pl.DataFrame({"photo": [blue, picture((9, 9, 9))], "id": [1, 2]}).write_parquet(tmp_path / "bytes.parquet")

    batch(store, of(store, "colours"), tmp_path / "in/list.csv", tmp_path / "out.parquet").run()
    batch(store, of(store, "colours"), tmp_path / "in", tmp_path / "again.parquet").run()
    batch(store, of(store, "colours"), tmp_path / "bytes.parquet", tmp_path / "bytes-out.ndjson", columns=("id",)).run()

    found = pl.read_parquet(tmp_path / "out.parquet")["prediction"].to_list()
    assert [each["colour"][0] for each in found[:12]] == [int(name[5:8]) for name in names]
    assert found[12] == found[13] == {"colour": [0, 0, 200], "size": [20, 10]}
    assert pl.read_parquet(tmp_path / "again.parquet")["prediction"].to_list() == found
    told = pl.read_ndjson(tmp_path / "bytes-out.ndjson")
    assert told["prediction"].to_list() == [found[12], {"colour": [9, 9, 9], "size": [20, 10]}]
    with pytest.raises(UsageError, match=r"has 'photo' as Binary, which a file of ndjson cannot hold"):
        batch(store, of(store, "colours"), tmp_path / "bytes.parquet", tmp_path / "b.ndjson").run()


def test_no_row_leads_out_of_the_folder_of_its_input(store: Store, tmp_path: Path) -> None:
    photos(tmp_path / "in", 2)
    (tmp_path / "secret.png").write_bytes(picture((1, 2, 3)))
    (tmp_path / "in/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in/broken.png").write_bytes(b"no image")
    (tmp_path / "in/large.png").write_bytes(picture((1, 2, 3), (300, 300)))
    (tmp_path / "in/folder.png").mkdir()
    reasons = {
        "../secret.png": "leads out of the input's folder",
        "dogs/../../secret.png": "leads out of the input's folder",
        str(tmp_path / "in/dogs/000.png"): "leads out of the input's folder",
        "link.png": "a link that leads out",
        "none.png": "there is no such file",
        "folder.png": "there is no such file",
        "http://127.0.0.1/a.png": "an address",
        "file:///etc/passwd": "an address",
        "broken.png": "broken.png: 8 bytes that are no png or jpeg or webp",
        "large.png": "large.png: an image of 300 × 300 pixels",
        "no base64!": "no base64",
        "a\0b.png": "there is no such file",
    }
    frame = pl.DataFrame({"photo": ["dogs/000.png", *reasons]})
    frame.write_parquet(tmp_path / "in/list.parquet")

    job = batch(
        store, of(store, "colours"), tmp_path / "in/list.parquet", tmp_path / "out.parquet", on_bad_row="skip"
    ).run()

    rejects = pl.read_ndjson(tmp_path / "out.rejects.ndjson")
    assert (job.rows, job.rejected) == (1, len(reasons))
    for told, reason in zip(rejects["found"], reasons.values(), strict=True):
        assert reason in told
    with pytest.raises(BadRow, match="the input has no folder"):
        score(store, of(store, "colours"), pl.DataFrame({"photo": ["dogs/000.png"]}))


def test_an_image_that_breaks_off_is_told_by_its_row_and_field(store: Store, tmp_path: Path) -> None:
    photos = [picture((number, 0, 0), (200, 200)) for number in range(9)]
    photos[4] = photos[4][: len(photos[4]) // 2]
    pl.DataFrame({"photo": photos}).write_parquet(tmp_path / "in.parquet")
    colours = of(store, "colours")

    job = batch(store, colours, tmp_path / "in.parquet", tmp_path / "out.parquet", on_bad_row="skip", columns=()).run()

    (reject,) = pl.read_ndjson(tmp_path / "out.rejects.ndjson").iter_rows(named=True)
    assert (job.rows, job.rejected) == (8, 1)
    assert (reject["row"], reject["field"]) == (4, "photo")
    assert reject["found"].startswith("an image that cannot be read: ")
    assert "an image (png, jpeg, webp)" in reject["wanted"]
    with pytest.raises(BadRow, match=r"row 4 of in\.parquet, field 'photo': found an image that cannot be read"):
        batch(store, colours, tmp_path / "in.parquet", tmp_path / "no.parquet", columns=()).run()


def test_a_folder_of_images_is_an_input(store: Store, tmp_path: Path) -> None:
    names = photos(tmp_path / "photos", 30)
    wanted = batch(store, of(store, "colours"), tmp_path / "photos", tmp_path / "out.parquet", part_rows=7)

    told = wanted.preview()
    with pytest.raises(KeyboardInterrupt):
        wanted.run(Stops(2))
    job = wanted.run(watch := Stops(1_000))

    assert (told.files, told.rows, told.parts) == (30, 30, 4)
    assert (job.rows, job.parts_done, watch.finished) == (30, 4, 2)
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["photo"].to_list() == names
    assert [each["colour"][0] for each in found["prediction"]] == [int(name[5:8]) for name in names]
    (tmp_path / "photos/cats/003.png").write_bytes(b"broken")
    with pytest.raises(BadRow, match=r"row 1 of photos, field 'photo': found cats/003.png: 6 bytes"):
        batch(store, of(store, "colours"), tmp_path / "photos", tmp_path / "bad.parquet").run()
    few = batch(store, of(store, "colours"), f"{tmp_path}/photos/dogs/*.png", tmp_path / "few.ndjson", limit=3).run()
    assert few.rows == 3
    with pytest.raises(UsageError, match="photos holds images and no file of rows, and the version takes no image"):
        batch(store, of(store, "sums"), tmp_path / "photos", tmp_path / "o.parquet").run()


def test_images_of_a_table_and_of_a_bucket(store: Store, tmp_path: Path, bucket: Any) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE photos (id INTEGER, photo BLOB)")
        connection.executemany("INSERT INTO photos VALUES (?, ?)", [(n, picture((n, 0, 0))) for n in range(5)])
        connection.commit()
    for name in photos(tmp_path / "photos", 6):
        bucket.put(f"all/{name}", tmp_path / "photos" / name)
    bucket.put("all/list.csv", b"photo\ncats/001.png\n../secret.png\ncats/none.png\n")
    bucket.put("secret.png", picture((1, 2, 3)))

    of_table = f"sqlite:///{tmp_path}/shop.db?table=photos"
    batch(store, of(store, "colours"), of_table, tmp_path / "table.parquet").run()
    batch(store, of(store, "colours"), "s3://rows/all/dogs/", tmp_path / "dogs.parquet").run()
    batch(store, of(store, "colours"), "s3://rows/all/list.csv", tmp_path / "list.parquet", on_bad_row="skip").run()

    reds = {
        name: [each["colour"][0] for each in pl.read_parquet(tmp_path / f"{name}.parquet")["prediction"]]
        for name in ("table", "dogs", "list")
    }
    assert reds == {"table": [0, 1, 2, 3, 4], "dogs": [0, 2, 4], "list": [1]}
    told = pl.read_ndjson(tmp_path / "list.rejects.ndjson")["found"]
    assert "leads out" in told[0]
    assert "no such file" in told[1]


@pytest.mark.parametrize("kind", [".parquet", ".csv"])
def test_an_image_that_is_answered_is_bytes_or_base64(store: Store, tmp_path: Path, kind: str) -> None:
    photos(tmp_path / "photos", 3)

    batch(store, of(store, "grey"), tmp_path / "photos", tmp_path / f"out{kind}").run()

    if kind == ".parquet":
        data = pl.read_parquet(tmp_path / "out.parquet")["prediction"][0]
    else:
        data = base64.b64decode(pl.read_csv(tmp_path / "out.csv")["prediction"][0])
    assert pillow.open(io.BytesIO(data)).mode == "L"


def test_models_that_are_awaited_stream_or_call_answer_too(store: Store, tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["aab", "b"] * 40})
    source = write(frame, tmp_path / "in.parquet")
    upto = write(pl.DataFrame({"upto": [0, 3, 1]}), tmp_path / "upto.parquet")

    batch(store, of(store, "shares"), source, tmp_path / "shares.parquet", part_rows=30).run()
    batch(store, of(store, "twice"), source, tmp_path / "twice.parquet", part_rows=30).run()
    batch(store, of(store, "pieces"), upto, tmp_path / "pieces.parquet").run()

    shares = pl.read_parquet(tmp_path / "shares.parquet")["prediction"]
    assert shares[1] == '{"b":1.0}'
    assert pl.read_parquet(tmp_path / "twice.parquet")["prediction"].to_list() == [6, 2] * 40
    assert pl.read_parquet(tmp_path / "pieces.parquet")["prediction"].to_list() == [[], ["0", "1", "2"], ["0"]]


def test_rows_that_are_refused_fail_or_get_a_wrong_answer_are_bad_rows(store: Store, tmp_path: Path) -> None:
    frame = texts(400)
    bad = {30: "bad", 31: "refused", 300: "odd"}
    frame = frame.with_columns(
        text=pl.Series([bad.get(number, text) for number, text in enumerate(frame["text"])]),
        times=pl.when(pl.int_range(pl.len()) == 5).then(0.5).otherwise(1),
    )
    source = write(frame, tmp_path / "in.parquet")

    with pytest.raises(BadRow, match=r"row 5 of in.parquet, field 'times': found 0.5, wanted a whole number"):
        batch(store, of(store, "counts"), source, tmp_path / "out.parquet").run()
    job = batch(store, of(store, "counts"), source, tmp_path / "out.parquet", on_bad_row="skip").run()

    good = [number for number in range(400) if number not in {5, *bad}]
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert (job.rows, job.rejected) == (396, 4)
    assert found["id"].to_list() == good
    assert found["prediction"].to_list() == [counted(frame)[number] for number in good]
    rejects = pl.read_ndjson(tmp_path / "out.rejects.ndjson")
    assert rejects["row"].to_list() == [5, 30, 31, 300]
    assert rejects["found"].to_list()[1:3] == ["RuntimeError: a strange text", "such texts are not taken"]
    assert "not what the signature says" in rejects["found"][3]


def test_a_model_that_fails_on_every_row_ends_the_job(store: Store, tmp_path: Path) -> None:
    source = write(texts(3_000).with_columns(text=pl.lit("bad")), tmp_path / "in.parquet")

    with pytest.raises(DrivetrainError, match=r"more than 1,000 rows fail in counts@1"):
        batch(store, of(store, "counts"), source, tmp_path / "out.parquet", on_bad_row="skip").run()


def test_a_job_of_the_command_that_is_killed_goes_on_and_nothing_is_lost_or_doubled(
    project: Project, store: Store, tmp_path: Path
) -> None:
    frame = texts(300).with_columns(text=pl.when(pl.int_range(pl.len()) == 250).then(pl.lit("slow")).otherwise("text"))
    source = write(frame, tmp_path / "in.parquet")
    words = ["predict", "--version", "counts@1", "--input", str(source), "--output", str(tmp_path / "out.parquet"),
             "--part-rows", "60", "--workers", "2"]  # fmt: skip
    (project.folder / "go").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "drivetrain", *words],
        cwd=project.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    place = str(tmp_path / "out.parquet")
    try:
        wait_until(lambda: jobs_of(store)[0].output == place and jobs_of(store)[0].parts_done == 4, 60)
        workers = children(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    killed = jobs_of(store)[0]
    before = store.ledger.find(BatchPart, {"job": killed.id})
    (project.folder / "go").touch()

    done = project.command(*words)

    assert (killed.state, killed.parts_done) == ("interrupted", 4)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("300 rows answered by counts@1")
    job = jobs_of(store)[0]
    assert (job.id, job.rows, job.parts_done) == (killed.id, 300, 5)
    assert [part for part in store.ledger.find(BatchPart, {"job": job.id}) if part.number != 4] == before
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["id"].to_list() == list(range(300))
    assert found["prediction"].to_list() == counted(frame)
    assert sorted(os.listdir(tmp_path)) == ["in.parquet", "out.parquet"]


def test_a_worker_that_is_killed_is_replaced(project: Project, store: Store, tmp_path: Path) -> None:
    (project.folder / "been").unlink(missing_ok=True)
    frame = texts(300).with_columns(text=pl.when(pl.int_range(pl.len()) == 100).then(pl.lit("kills")).otherwise("text"))
    source = write(frame, tmp_path / "in.parquet")

    job = batch(store, of(store, "counts"), source, tmp_path / "out.parquet", part_rows=60, workers=2).run()

    assert (project.folder / "been").exists()
    assert job.rows == 300
    assert pl.read_parquet(tmp_path / "out.parquet")["prediction"].to_list() == counted(frame)


def test_python_answers_a_table(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)

    found = dt.predict(pl.DataFrame({"upto": [2]}), version="pieces@1")

    assert found.rows() == [(2, ["0", "1"], "pieces@1")]


def test_a_cell_of_a_notebook_answers_a_table(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)

    async def cell() -> pl.DataFrame:  # as a notebook runs it, on a loop of its own
        return dt.predict(pl.DataFrame({"text": ["four"]}), version="shares@1")

    assert asyncio.run(cell())["version"].to_list() == ["shares@1"]


REMOTE = """
import drivetrain as dt

doubler = dt.Remote("http://127.0.0.1:%d", protocol="triton", model="doubler")
gate = dt.Gate(doubler)
"""


def test_an_engine_elsewhere_answers_and_one_that_is_gone_costs_no_row(tmp_path: Path) -> None:
    port = free_port()
    project = Project(tmp_path / "project", REMOTE % port)
    frame = pl.DataFrame({"x": [-1.0 - number % 50 for number in range(100)]})
    source = write(frame, tmp_path / "in.parquet")
    with started(sys.executable, "slow_engine.py", ready="/v2/health/ready", port=port):
        project.run()
        store = Store.open(project.folder / ".drivetrain")
        wanted = batch(store, of(store, "doubler"), source, tmp_path / "out.parquet", part_rows=20, on_bad_row="skip")
        with pytest.raises(KeyboardInterrupt):
            wanted.run(Stops(2))
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}", trust_env=False)
    try:
        with pytest.raises(Unreachable, match="does not answer"):
            wanted.run()
        failed = jobs_of(store)[0]
        with started(sys.executable, "slow_engine.py", ready="/v2/health/ready", port=port):
            job = wanted.run()
            bad = write(pl.DataFrame({"x": [-1.0, -200.0, -3.0]}), tmp_path / "bad.parquet")
            few = batch(store, of(store, "doubler"), bad, tmp_path / "few.parquet", on_bad_row="keep").run()
    finally:
        store.close()

    assert (failed.state, failed.parts_done >= 2, failed.rejected) == ("failed", True, 0)
    assert (job.id, job.rows, job.rejected) == (failed.id, 100, 0)
    assert pl.read_parquet(tmp_path / "out.parquet")["prediction"].to_list() == (2 * frame["x"]).to_list()
    assert (few.rows, few.rejected) == (3, 1)
    assert pl.read_parquet(tmp_path / "few.parquet")["prediction"].to_list() == [-2, None, -6]


ASSISTANT = """
import drivetrain as dt

assistant = dt.Remote("%s", concurrency=4)
gate = dt.Gate(assistant)
"""


def test_an_engine_is_asked_several_rows_at_once_and_no_row_twice(tmp_path: Path) -> None:
    does = ["waits"] * 8 + ["400", "full", "500", "no json", "hello"]
    rows = [{"request": {"messages": [{"role": "user", "content": each}]}} for each in does]
    source = tmp_path / "in.ndjson"
    source.write_text("\n".join(map(json.dumps, rows)))
    with started(sys.executable, "odd_engine.py", ready="/asked") as engine:
        project = Project(tmp_path / "project", ASSISTANT % engine)
        project.run()
        store = Store.open(project.folder / ".drivetrain")
        job = batch(store, of(store, "assistant"), source, tmp_path / "out.ndjson", on_bad_row="keep").run()
        store.close()
        asked = httpx.get(f"{engine}/asked").json()

    assert (job.rows, job.rejected) == (13, 3)
    assert {each: asked[each] for each in does} == {"waits": 8, "400": 1, "full": 3, "500": 1, "no json": 1, "hello": 1}
    assert asked["most at once"] == 4
    answers = [json.loads(line)["prediction"] for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    said = [each and json.loads(each)["choices"][0]["message"]["content"] for each in answers]
    assert said == [*["waits"] * 8, None, "full", None, None, "hello"]
    reasons = pl.read_ndjson(tmp_path / "out.rejects.ndjson")["found"]
    for reason, word in zip(reasons, ("the engine says 400", "answers 500", "no JSON"), strict=True):
        assert word in reason


@pytest.mark.slow
def test_parts_are_carried_out_on_ray(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    names = photos(tmp_path / "photos", 30)

    job = Batch(
        store, of(store, "colours"), source=str(tmp_path / "photos"), output=str(tmp_path / "out.parquet"),
        settings=Settings(part_rows=7), workers=2, ray="local",
    ).run()  # fmt: skip

    found = pl.read_parquet(tmp_path / "out.parquet")
    assert (job.rows, job.parts_done) == (30, 4)
    assert found["photo"].to_list() == names
    assert [each["colour"][0] for each in found["prediction"]] == [int(name[5:8]) for name in names]


@pytest.mark.slow
def test_memory_holds_a_few_rows_of_large_ones(project: Project, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    pillow.fromarray(noise).save(buffer, "PNG")
    (tmp_path / "in").mkdir()
    for number in range(40):
        pl.DataFrame({"photo": [buffer.getvalue() + bytes([each]) for each in range(200)]}).write_parquet(
            tmp_path / f"in/{number:02}.parquet", compression="uncompressed"
        )
    size_mib = sum(path.stat().st_size for path in (tmp_path / "in").iterdir()) >> 20

    def peak_mib(source: str, output: str) -> float:
        words = ("--only-predictions", "--workers", "1", "--version", "colours@1", "--json")
        done = project.command("predict", "--input", source, "--output", str(tmp_path / output), *words)
        assert done.returncode == 0, done.stderr
        return float(json.loads(done.stdout)["peak_mib"])

    base = peak_mib(f"{tmp_path}/in/0[01].parquet", "a.parquet")

    assert size_mib > 800
    assert peak_mib(f"{tmp_path}/in", "b.parquet") < base + 100
    assert pl.read_parquet(tmp_path / "b.parquet").height == 8_000

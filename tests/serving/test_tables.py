"""Many rows as a table, sent and read as pyarrow, polars and pandas do."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest
from tests.serving.world import Server, logged, rows, signature

from drivetrain.data.schema import Roles
from drivetrain.registry.version import Signature
from drivetrain.serving.batching import Reply
from drivetrain.serving.media import NAMES
from drivetrain.serving.tables import answered, written
from drivetrain.serving.unpack import Unpacker

if TYPE_CHECKING:
    pass

ARROW, FILE, PARQUET = NAMES["arrow stream"], NAMES["arrow file"], NAMES["parquet"]
CSV, LINES, JSON = "text/csv", "application/x-ndjson", "application/json"
FRAME = rows(50)


def packed(frame: pl.DataFrame, kind: str) -> bytes:
    """Return a frame as polars writes it."""
    target = io.BytesIO()
    if kind == CSV:
        frame.write_csv(target, datetime_format="%Y-%m-%dT%H:%M:%S")
    else:
        writers: dict[str, Any] = {
            ARROW: frame.write_ipc_stream,
            FILE: frame.write_ipc,
            PARQUET: frame.write_parquet,
            LINES: frame.write_ndjson,
        }
        writers[kind](target)
    return target.getvalue()


def unpacked(body: bytes, kind: str) -> pl.DataFrame:
    """Return an answer as polars reads it."""
    source = io.BytesIO(body)
    if kind == LINES:
        return pl.read_ndjson(source)
    read: Any = {ARROW: pl.read_ipc_stream, FILE: pl.read_ipc, PARQUET: pl.read_parquet, CSV: pl.read_csv}[kind]
    found: pl.DataFrame = read(source)
    return found


def asked(server: Server, body: bytes, kind: str, **headers: str) -> httpx.Response:
    return server.client.post("/predict", content=body, headers={"content-type": kind, **headers})


@pytest.fixture(scope="module")
def expected(server: Server) -> list[float]:
    """Return what the rows of the frame are answered as JSON."""
    told = server.client.post("/predict", content=b"[%b]" % b",".join(packed(FRAME, LINES).splitlines()),
                              headers={"content-type": JSON})  # fmt: skip
    return [each["prediction"] for each in told.json()["predictions"]]


@pytest.mark.parametrize("kind", [ARROW, FILE, PARQUET, CSV, LINES])
def test_a_table_is_answered_in_its_own_form(server: Server, expected: list[float], kind: str) -> None:
    seen = asked(server, packed(FRAME, kind), kind)

    assert seen.status_code == 200, seen.text
    assert seen.headers["content-type"] == kind
    found = unpacked(seen.content, kind)
    assert found.columns == ["id", "version", "prediction"]
    assert found["prediction"].to_list() == pytest.approx(expected)
    assert found["id"].n_unique() == 50


@pytest.mark.parametrize("answer", [ARROW, FILE, PARQUET, CSV, LINES])
def test_the_client_chooses_the_form_of_the_answer(server: Server, expected: list[float], answer: str) -> None:
    seen = asked(server, packed(FRAME, CSV), CSV, accept=f"{answer}, */*;q=0.1")

    assert seen.headers["content-type"] == answer
    assert unpacked(seen.content, answer)["prediction"].to_list() == pytest.approx(expected)


def test_a_table_may_be_answered_in_our_own_json(server: Server, expected: list[float]) -> None:
    seen = asked(server, packed(FRAME, PARQUET), PARQUET, accept=JSON).json()["predictions"]

    assert [each["prediction"] for each in seen] == expected
    assert set(seen[0]) == {"id", "version", "prediction"}


def test_pyarrow_sends_and_reads_it(server: Server, expected: list[float]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs drivetrain[arrow]")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs drivetrain[arrow]")
    table = FRAME.to_arrow()
    stream, file = io.BytesIO(), io.BytesIO()
    with pyarrow.ipc.new_stream(
        stream, table.schema, options=pyarrow.ipc.IpcWriteOptions(compression="zstd")
    ) as writer:
        writer.write_table(table, max_chunksize=7)
    parquet.write_table(table, file, row_group_size=9)

    first = pyarrow.ipc.open_stream(asked(server, stream.getvalue(), ARROW).content).read_all()
    second = parquet.read_table(io.BytesIO(asked(server, file.getvalue(), PARQUET).content))

    assert first["prediction"].to_pylist() == second["prediction"].to_pylist() == pytest.approx(expected)
    assert str(first["id"].type) in ("large_string", "string", "string_view")


def test_pandas_sends_and_reads_it(server: Server, expected: list[float]) -> None:
    pandas = pytest.importorskip("pandas", reason="needs drivetrain[pandas]")
    frame = FRAME.to_pandas()
    as_csv = frame.to_csv(index=False).encode()
    dated = frame.assign(day=frame["day"].astype(str))  # else pandas writes a date as a time
    as_lines = dated.to_json(orient="records", lines=True, date_format="iso").encode()

    first = pandas.read_csv(io.BytesIO(asked(server, as_csv, CSV).content))
    second = pandas.read_parquet(io.BytesIO(asked(server, frame.to_parquet(index=False), PARQUET).content))
    third = pandas.read_json(io.BytesIO(asked(server, as_lines, LINES).content), lines=True)

    assert first["prediction"].tolist() == second["prediction"].tolist() == pytest.approx(expected)
    assert third["prediction"].tolist() == pytest.approx(expected)


def test_a_table_may_come_compressed(server: Server) -> None:
    body = gzip.compress(packed(FRAME, CSV))

    assert asked(server, body, CSV, **{"content-encoding": "gzip"}).status_code == 200


def test_what_comes_as_a_table_is_logged_like_everything(server: Server) -> None:
    seen = unpacked(asked(server, packed(FRAME, ARROW), ARROW).content, ARROW)

    found = logged(server.store).filter(id=seen["id"][3]).row(0, named=True)

    assert found["key"] == "t-3"
    assert found["features"]["distance"] == FRAME["distance"][3]


def changed(**columns: Any) -> pl.DataFrame:
    return FRAME.head(3).with_columns(**columns)


@pytest.mark.parametrize(
    ("frame", "row", "field", "found"),
    [
        (changed(distance=pl.Series([1.0, float("inf"), 2.0])), 1, "distance", "a number out of range"),
        (changed(distance=pl.Series([1.0, 2.0, float("nan")])), 2, "distance", "NaN"),
        (changed(distance=pl.Series([1.0, None, 2.0])), 1, "distance", "null"),
        (changed(stops=pl.Series([1.0, 2.5, 2.0])), 1, "stops", "2.5"),
        (changed(stops=pl.Series([1, 2**40, 2])), 1, "stops", str(2**40)),
        (changed(is_new=pl.Series([1, 0, 1])), None, "is_new", "a column of Int64"),
        (changed(city=pl.Series([b"a", b"b", b"c"])), None, "city", "a column of Binary"),
        (changed(city=pl.Series([["a"], ["b"], []])), None, "city", "a column of List(String)"),
        (changed().drop("city"), None, "city", "nothing"),
        (changed().rename({"city": "citi"}), None, "citi", "an unknown field"),
        (changed().with_columns(pl.lit(1).alias("🌧")), None, "🌧", "an unknown field"),
    ],
)
@pytest.mark.parametrize("kind", [ARROW, PARQUET])
def test_what_does_not_fit_is_named_by_row_and_field(
    server: Server, frame: pl.DataFrame, row: int | None, field: str, found: str, kind: str
) -> None:
    seen = asked(server, packed(frame, kind), kind)

    assert seen.status_code == 422, seen.text
    problem = seen.json()["problems"][0]
    assert (problem["row"], problem["field"], problem["found"]) == (row, field, found)


def test_nan_is_null_where_null_may_be(server: Server) -> None:
    as_nan = changed(wind=pl.Series([float("nan")] * 3))
    as_null = changed(wind=pl.Series([None] * 3, dtype=pl.Float64))

    seen = [
        unpacked(asked(server, packed(frame, kind), kind).content, kind)["prediction"].to_list()
        for frame in (as_nan, as_null)
        for kind in (ARROW, CSV)
    ]

    assert all(each == pytest.approx(seen[0]) for each in seen)


@pytest.mark.parametrize("kind", [ARROW, FILE, PARQUET, CSV, LINES])
def test_more_rows_than_allowed_are_refused(server: Server, kind: str) -> None:
    narrow = rows(501).select(pl.col("stops"))

    seen = asked(server, packed(narrow, kind), kind)

    assert seen.status_code == 413
    assert "501 rows; at most 500" in seen.json()["error"]


@pytest.mark.parametrize("kind", [ARROW, FILE, PARQUET, CSV])
def test_a_table_without_rows_gets_one(server: Server, kind: str) -> None:
    seen = asked(server, packed(FRAME.clear(), kind), kind)

    assert seen.status_code == 200
    assert unpacked(seen.content, kind).columns == ["id", "version", "prediction"]


def test_lines_that_are_not_one_object_each_are_refused(server: Server) -> None:
    line = packed(FRAME.head(1), LINES).strip()

    assert asked(server, line + b"," + line, LINES).status_code == 400
    assert asked(server, line + b"\n{", LINES).status_code == 400
    assert asked(server, line + b"\n\n" + line + b"\r\n", LINES).status_code == 200


def test_a_reader_that_breaks_is_replaced() -> None:
    unpacker = Unpacker(max_rows=100, max_body_bytes=1000, timeout_s=20)
    good = packed(FRAME, ARROW)
    bomb = io.BytesIO()
    pl.DataFrame({"text": ["x" * 300_000_000]}).write_parquet(bomb, compression="zstd")

    first = unpacker.read(good, "arrow stream")
    with pytest.raises(Exception, match="too much memory"):
        unpacker.read(bomb.getvalue(), "parquet")
    second = unpacker.read(good, "arrow stream")
    unpacker.close()

    assert first.equals(second)


def test_probabilities_stand_beside_each_other_in_csv() -> None:
    wines = Signature(
        task="multiclass", label="grower", classes=["Agnello", "Bruno"], request=[], features=[], roles=Roles()
    )
    reply = Reply(["pred-1"], ["wine@1"], ["Bruno"], [[0.25, 0.75]], ["Agnello", "Bruno"])

    assert written(reply, wines, "csv").decode().splitlines() == [
        "id,version,prediction,probability_Agnello,probability_Bruno",
        "pred-1,wine@1,Bruno,0.25,0.75",
    ]
    assert answered(reply, wines)["probabilities"].to_list() == [{"Agnello": 0.25, "Bruno": 0.75}]
    assert answered(Reply([], [], []), signature()).schema == {
        "id": pl.String, "version": pl.String, "prediction": pl.Float64
    }  # fmt: skip

"""What clients get wrong, or try, in every protocol: each is refused with its reason, and nobody else notices.

What is taken although it looks odd stands in `TAKEN`, and in the docs.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import polars as pl
import pytest
from tests.serving.world import MODEL, ROW, Server, promote, register, rows, served

from drivetrain.store.store import Store

FORM = "multipart/form-data; boundary=x"
PREDICT, FEEDBACK, INVOCATIONS = "/predict", "/feedback", "/invocations"
INFER, V1 = f"/v2/models/{MODEL}/infer", f"/v1/models/{MODEL}:predict"
JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}
CSV = {"content-type": "text/csv"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
FILE = {"content-type": "application/vnd.apache.arrow.file"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}
KINDS = {"asked_at": "BYTES", "distance": "FP64", "stops": "INT32", "is_new": "BOOL", "city": "BYTES", "day": "BYTES"}
PLAIN = {name: ROW[name] for name in KINDS}
ANY = "any"


class Case(NamedTuple):
    """A request, the status that it must get, and the field and row that must be named, where one is to blame."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    field: str | None = ANY
    row: int | str | None = ANY


def tensors(**changed: Any) -> dict[str, Any]:
    """Return a request of the Open Inference Protocol, with fields of some inputs changed; `...` takes one away."""
    inputs = {
        name: {"name": name, "datatype": kind, "shape": [1], "data": [PLAIN[name]]} for name, kind in KINDS.items()
    }
    for name, value in changed.items():
        if value is ...:
            del inputs[name]
        else:
            inputs[name] = {**inputs.get(name, {"name": name}), **value}
    return {"inputs": list(inputs.values())}


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def packed(frame: pl.DataFrame, how: str, **options: Any) -> bytes:
    target = io.BytesIO()
    getattr(frame, how)(target, **options)
    return target.getvalue()


FRAME = rows(3)
AS_ARROW, AS_FILE = packed(FRAME, "write_ipc_stream"), packed(FRAME, "write_ipc")
AS_PARQUET, AS_CSV = packed(FRAME, "write_parquet"), packed(FRAME, "write_csv")
DEEP = 100_000

# No JSON, whatever it is that is asked.
NO_JSON: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n\t ",
    "cut off": b'{"inputs": [{"na',
    "two values": b"{} {}",
    "a comma too many": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "a comment": b"/* rows */ {}",
    "no quotes": b"{a: 1}",
    "a form": b"distance=1&stops=2",
    "XML": b"<rows><row/></rows>",
    "Infinity": b'{"inputs": Infinity}',
    "minus Infinity": b'{"inputs": -Infinity}',
    "hexadecimal": b'{"a": 0x7b}',
    "a leading zero": b'{"a": 012}',
    "a plus sign": b'{"a": +1}',
    "True of Python": b'{"a": True}',
    "byte order mark": b"\xef\xbb\xbf" + text(PLAIN),
    "UTF-16": json.dumps(PLAIN).encode("utf-16"),
    "UTF-32": json.dumps(PLAIN).encode("utf-32"),
    "Latin-1": '{"city": "Trondheim \xe6"}'.encode("latin-1"),
    "a zero byte": b'{"city": "\x00"}',
    "a line break in a text": b'{"city": "a\nb"}',
    "half of a surrogate pair": b'{"city": "\\ud83d"}',
    "surrogates in the wrong order": b'{"city": "\\udf27\\ud83c"}',
    "a bad escape": b'{"city": "\\x41"}',
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep arrays, never closed": b"[" * DEEP,
    "deep objects": b'{"a":' * (DEEP // 6) + b"1" + b"}" * (DEEP // 6),
    "gzip that nobody spoke of": gzip.compress(text(PLAIN)),
    "Parquet that calls itself JSON": AS_PARQUET,
}
CASES: dict[str, Case] = {
    f"{path}: {name}": Case(path, JSON, body, 400)
    for path in (PREDICT, FEEDBACK, INVOCATIONS, V1, INFER)
    for name, body in NO_JSON.items()
}

# JSON of another form than the protocol's.
OTHER_FORM: dict[str, Any] = {"null": None, "a number": 5, "a text": "rows", "true": True, "a list": [1], "empty": {}}
CASES |= {
    f"{path}: {name} is not its form": Case(path, JSON, text(value), 422 if path in (PREDICT, FEEDBACK) else 400)
    for path in (PREDICT, FEEDBACK, INVOCATIONS, V1, INFER)
    for name, value in OTHER_FORM.items()
}

# A value that does not fit its column, in every protocol that has rows of JSON.
VALUES: dict[str, tuple[str, Any]] = {
    "a text for a number": ("distance", "far"),
    "a number in a text": ("distance", "120.5"),
    "true for a number": ("distance", True),
    "null where none may be": ("distance", None),
    "an object for a number": ("distance", {"value": 1}),
    "an array for a text": ("city", ["Oslo"]),
    "a number for a text": ("city", 5),
    "a fraction for a whole number": ("stops", 2.5),
    "beyond 32 bits": ("stops", 2**31),
    "beyond 64 bits": ("stops", 2**64),
    "of a thousand digits": ("stops", 10**1000),
    "true for a whole number": ("stops", True),
    "a number for a truth value": ("is_new", 2),
    "a text for a truth value": ("is_new", "true"),
    "no date": ("day", "yesterday"),
    "the 30th of February": ("day", "2026-02-30"),
    "a number for a date": ("day", 20260131),
    "a time with an offset": ("asked_at", "2026-01-31T09:30:00+02:00"),
    "no time": ("asked_at", "half past nine"),
    "a megabyte for a date": ("day", "x" * 100_000),
}


def rows_as(path: str, row: dict[str, Any]) -> bytes:
    """Return a good row and this one, as a protocol has them."""
    if path == PREDICT:
        return text([PLAIN, row])
    if path == INVOCATIONS:
        return text({"dataframe_records": [PLAIN, row]})
    return text({"instances": [PLAIN, row]})


CASES |= {
    f"{path}: {name}": Case(path, JSON, rows_as(path, {**PLAIN, field: value}), 422, field, 1)
    for path in (PREDICT, INVOCATIONS, V1)
    for name, (field, value) in VALUES.items()
}
CASES |= {
    f"{INFER}: {name}": Case(INFER, JSON, text(tensors(**{field: {"data": [value]}})), 422, field)
    for name, (field, value) in VALUES.items()
}
CASES |= {
    f"{PREDICT} as lines: {name}": Case(
        PREDICT, LINES, text(PLAIN) + b"\n" + text({**PLAIN, field: value}), 422, field, 1
    )
    for name, (field, value) in VALUES.items()
}
NAMES: dict[str, tuple[dict[str, Any], str]] = {
    "a column is missing": ({name: value for name, value in PLAIN.items() if name != "city"}, "city"),
    "a column is renamed": ({**{n: v for n, v in PLAIN.items() if n != "city"}, "City": "Oslo"}, "city"),
    "a column too many": ({**PLAIN, "colour": "red"}, "colour"),
    "a column of emoji": ({**PLAIN, "🌧️": 1}, "🌧️"),
    "a column without a name": ({**PLAIN, "": 1}, ""),
    "a column of a megabyte": ({**PLAIN, "x" * 50_000: 1}, ANY),
    "a column with a zero byte": ({**PLAIN, "a\0b": 1}, "a\0b"),
}
CASES |= {
    f"{path}: {name}": Case(path, JSON, rows_as(path, row), 422, field, 1)
    for path in (PREDICT, INVOCATIONS, V1)
    for name, (row, field) in NAMES.items()
}
TWICE = text(PLAIN).replace(b'"stops"', b'"stops": 1, "stops"')
CASES |= {
    f"{PREDICT}: a name twice": Case(PREDICT, JSON, TWICE, 422, "stops"),
    f"{INVOCATIONS}: a name twice": Case(INVOCATIONS, JSON, b'{"instances": [%b]}' % TWICE, 422, "stops"),
    f"{V1}: a form twice": Case(V1, JSON, b'{"instances": [], "instances": []}', 422, "instances"),
    f"{PREDICT}: 501 rows": Case(PREDICT, JSON, text([PLAIN] * 501), 413),
    f"{INVOCATIONS}: 501 rows": Case(INVOCATIONS, JSON, text({"instances": [PLAIN] * 501}), 413),
    f"{V1}: 501 rows by column": Case(V1, JSON, text({"inputs": {n: [v] * 501 for n, v in PLAIN.items()}}), 413),
    f"{PREDICT}: a million rows": Case(PREDICT, JSON, b"[" + b"1," * 999_999 + b"1]", 413),
    f"{INVOCATIONS}: too large": Case(INVOCATIONS, JSON, b" " * 300_000, 413),
    f"{PREDICT}: 1e400": Case(PREDICT, JSON, text(PLAIN).replace(b"120.5", b"1e400"), 422, "distance"),
    f"{V1}: 1e400": Case(V1, JSON, b'{"instances": [%b]}' % text(PLAIN).replace(b"120.5", b"1e400"), 422, "distance"),
    f"{INFER}: 1e400": Case(INFER, JSON, text(tensors()).replace(b"120.5", b"1e400"), 422, "distance"),
    f"{PREDICT}: NaN": Case(PREDICT, JSON, text(PLAIN).replace(b"120.5", b"NaN"), 400),
    f"{V1}: NaN where no null may be": Case(
        V1, JSON, b'{"instances": [%b]}' % text(PLAIN).replace(b"120.5", b"NaN"), 422, "distance", 0
    ),
    f"{INFER}: NaN where no null may be": Case(
        INFER, JSON, text(tensors()).replace(b"120.5", b"NaN"), 422, "distance", 0
    ),
}

# Tensors that are not what they say.
HUGE = 2**62
TENSORS: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "an unknown datatype": (tensors(stops={"datatype": "INT7"}), 422, "stops"),
    "a datatype in small letters": (tensors(stops={"datatype": "int32"}), 422, "stops"),
    "no datatype": (tensors(colour={"shape": [1], "data": [1]}), 400, ANY),
    "no shape": (tensors(colour={"datatype": "INT8", "data": [1]}), 400, ANY),
    "no data": ({"inputs": [{"name": "stops", "datatype": "INT32", "shape": [1]}]}, 400, ANY),
    "a shape of floats": (tensors(stops={"shape": [1.5]}), 400, ANY),
    "a shape of texts": (tensors(stops={"shape": ["1"]}), 400, ANY),
    "a negative shape": (tensors(stops={"shape": [-1]}), 422, "stops"),
    "no dimensions": (tensors(stops={"shape": []}), 422, "stops"),
    "nine dimensions": (tensors(stops={"shape": [1] * 9}), 422, "stops"),
    "three dimensions": (tensors(stops={"shape": [1, 1, 1]}), 422, "stops"),
    "two columns in one": (tensors(stops={"shape": [1, 2], "data": [1, 2]}), 422, "stops"),
    "a shape that overflows": (tensors(stops={"shape": [HUGE, HUGE]}), 422, "stops"),
    "a shape beyond 64 bits": (tensors(stops={"shape": [2**70]}), 422, "stops"),
    "a shape of many rows and no columns": (
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [HUGE, 0], "data": []}]}, 413, ANY
    ),
    "more elements than the shape": (tensors(stops={"data": [1, 2]}), 422, "stops"),
    "fewer elements than the shape": (tensors(stops={"shape": [2]}), 422, "stops"),
    "other rows than the first": (tensors(stops={"shape": [2], "data": [1, 2]}), 422, "stops"),
    "data that is no array": (tensors(stops={"data": 1}), 422, "stops"),
    "ragged data": (tensors(stops={"shape": [2, 1], "data": [[1], [1, 2]]}), 422, "stops"),
    "deep data": (tensors(stops={"data": [[[1]]]}), 422, "stops"),
    "an integer beyond its datatype": (tensors(stops={"datatype": "INT8", "data": [300]}), 422, "stops"),
    "a fraction in a tensor of integers": (tensors(distance={"datatype": "INT64", "data": [1.5]}), 422, "distance"),
    "a negative number without a sign": (tensors(stops={"datatype": "UINT8", "data": [-1]}), 422, "stops"),
    "an input that is missing": (tensors(city=...), 422, "city"),
    "an input that nobody knows": (tensors(citi={"datatype": "BYTES", "shape": [1], "data": ["x"]}), 422, "citi"),
    "an input twice": ({"inputs": tensors()["inputs"] * 2}, 422, "asked_at"),
    "no inputs": ({"inputs": []}, 422, "asked_at"),
    "numbers for a model that takes texts": (
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 4], "data": [1, 2, 1, 3]}]}, 422, "asked_at"
    ),
    "a single tensor too narrow": (
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]}, 422, "x"
    ),
    "an unknown output": ({**tensors(), "outputs": [{"name": "scores"}]}, 422, "scores"),
    "an output without a name": ({**tensors(), "outputs": [{}]}, 400, ANY),
    "an id that is a number": ({**tensors(), "id": 5}, 400, ANY),
    "a sequence": ({**tensors(), "parameters": {"sequence_id": 3}}, 400, ANY),
    "shared memory": (tensors(stops={"parameters": {"shared_memory_region": "a"}}), 400, ANY),
    "501 rows": (tensors(**{n: {"shape": [501], "data": [v] * 501} for n, v in PLAIN.items()}), 413, ANY),
}  # fmt: skip
CASES |= {
    f"{INFER}: {name}": Case(INFER, JSON, text(body), status, field) for name, (body, status, field) in TENSORS.items()
}


def binary(
    *parts: bytes, sizes: list[Any] | None = None, header: str | None = None, **changed: Any
) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a request whose stops stand behind the JSON."""
    asked = tensors(**changed)
    del next(each for each in asked["inputs"] if each["name"] == "stops")["data"]
    for each, size in zip([each for each in asked["inputs"] if each["name"] == "stops"], sizes or [4], strict=True):
        each["parameters"] = {"binary_data_size": size}
    head = text(asked)
    return {"inference-header-content-length": str(len(head)) if header is None else header}, head + b"".join(parts)


TWO = struct.pack("<i", 2)
BINARY: dict[str, tuple[tuple[dict[str, str], bytes], int]] = {
    "a size too large": (binary(TWO, sizes=[8]), 400),
    "a size too small": (binary(TWO, sizes=[3]), 422),
    "a negative size": (binary(TWO, sizes=[-4]), 400),
    "a size that is a text": (binary(TWO, sizes=["4"]), 400),
    "a size that is a float": (binary(TWO, sizes=[4.0]), 400),
    "a size that is true": (binary(TWO, sizes=[True]), 400),
    "a size beyond 64 bits": (binary(TWO, sizes=[2**70]), 400),
    "bytes behind the last": (binary(TWO, TWO), 400),
    "no bytes": (binary(), 400),
    "a header that is longer than the body": (binary(TWO, header="99999"), 400),
    "a negative header": (binary(TWO, header="-5"), 400),
    "a header of words": (binary(TWO, header="many"), 400),
    "a header of nothing": (binary(TWO, header="0"), 400),
    "a header of a thousand digits": (binary(TWO, header="9" * 1000), 400),
    "a header that ends within the JSON": (binary(TWO, header="40"), 400),
    "a shape that overflows": (binary(TWO, stops={"shape": [HUGE, HUGE]}), 422),
    "a texts' length that lies": (binary(struct.pack("<I", 2**31), stops={"datatype": "BYTES"}), 422),
    "a text that is no UTF-8": (binary(b"\1\0\0\0\xff", sizes=[5], stops={"datatype": "BYTES"}), 422),
    "a truth value of 7": (binary(b"\7", sizes=[1], stops={"datatype": "BOOL"}), 422),
    "an infinity": (binary(struct.pack("<d", float("inf")), sizes=[8], stops={"datatype": "FP64"}), 422),
}
CASES |= {f"{INFER} binary: {name}": Case(INFER, *given, status) for name, (given, status) in BINARY.items()}

# Tables that are cut off, broken, lying or of other columns.
BOMB = packed(pl.DataFrame({"a": ["x" * 300_000_000]}), "write_parquet", compression="zstd")
MANY = pl.DataFrame({"stops": pl.zeros(1_000_000, pl.Int8, eager=True)})
CASES |= {
    "arrow: nothing": Case(PREDICT, ARROW, b"", 400),
    "arrow: cut off": Case(PREDICT, ARROW, AS_ARROW[: len(AS_ARROW) // 2], 400),
    "arrow: a file for a stream": Case(PREDICT, ARROW, AS_FILE, 400),
    "arrow: a stream for a file": Case(PREDICT, FILE, AS_ARROW, 400),
    "arrow: a file that is cut off": Case(PREDICT, FILE, AS_FILE[:-9], 400),
    "arrow: noise": Case(PREDICT, ARROW, bytes(range(256)) * 40, 400),
    "arrow: zeros": Case(PREDICT, FILE, bytes(1000), 400),
    "arrow: a million rows": Case(PREDICT, ARROW, packed(MANY, "write_ipc_stream", compression="zstd"), 413),
    "arrow: without columns": Case(PREDICT, ARROW, packed(pl.DataFrame(), "write_ipc_stream"), 422, "asked_at", None),
    "parquet: nothing": Case(PREDICT, PARQUET, b"", 400),
    "parquet: only its name": Case(PREDICT, PARQUET, b"PAR1" * 5, 400),
    "parquet: cut off": Case(PREDICT, PARQUET, AS_PARQUET[:-20], 400),
    "parquet: its middle is gone": Case(PREDICT, PARQUET, AS_PARQUET[:100] + AS_PARQUET[-400:], 400),
    "parquet: JSON": Case(PREDICT, PARQUET, text(PLAIN), 400),
    "parquet: a million rows": Case(PREDICT, PARQUET, packed(MANY, "write_parquet"), 413),
    "parquet: a bomb": Case(PREDICT, PARQUET, BOMB, 413),
    "parquet: to MLflow's form": Case(INVOCATIONS, PARQUET, AS_PARQUET[:-20], 400),
    "csv: nothing": Case(PREDICT, CSV, b"", 400),
    "csv: only names": Case(PREDICT, CSV, b"a,b\n", 422, "a", None),
    "csv: UTF-16": Case(PREDICT, CSV, AS_CSV.decode().encode("utf-16"), 400),
    "csv: noise": Case(PREDICT, CSV, bytes(range(128, 256)) * 40, 400),
    "csv: a line too long": Case(PREDICT, CSV, AS_CSV + b"1,2,3,4,5,6,7,8,9,10\n", 400),
    "csv: a text for a number": Case(PREDICT, CSV, AS_CSV.replace(b"true", b"maybe", 1), 422, "is_new", 0),
    "csv: a quote that never ends": Case(PREDICT, CSV, AS_CSV + b'"t-9', 400),
    "csv: names twice": Case(PREDICT, CSV, AS_CSV.replace(b"city", b"day", 1), 422, ANY, None),
    "csv: 501 rows": Case(PREDICT, CSV, b"stops\n" + b"1\n" * 501, 413),
    "csv: to MLflow's form": Case(INVOCATIONS, CSV, AS_CSV.replace(b"distance", b"far"), 422),
    "lines: two on one": Case(PREDICT, LINES, text(PLAIN) + b"," + text(PLAIN), 400),
    "lines: no object": Case(PREDICT, LINES, text(PLAIN) + b"\n5", 422, None, 1),
    "lines: cut off": Case(PREDICT, LINES, text(PLAIN) + b'\n{"city', 400),
    "lines: 501 rows": Case(PREDICT, LINES, b"{}\n" * 501, 413),
}

# Encodings that lie, break, or grow.
GOOD = text(PLAIN)
ENCODED: dict[str, tuple[str, bytes, int]] = {
    "gzip that is none": ("gzip", GOOD, 400),
    "gzip cut off": ("gzip", gzip.compress(GOOD)[:-6], 400),
    "gzip of nothing": ("gzip", b"", 400),
    "gzip whose sum is wrong": ("gzip", gzip.compress(GOOD)[:-8] + bytes(8), 400),
    "deflate that is none": ("deflate", b"\xff" + GOOD, 400),
    "deflate cut off": ("deflate", zlib.compress(GOOD)[:-5], 400),
    "zstd that is none": ("zstd", GOOD, 400),
    "brotli that is none": ("br", GOOD, 400),
    "an encoding of the past": ("compress", GOOD, 415),
    "two encodings": ("gzip, gzip", gzip.compress(gzip.compress(GOOD)), 415),
    "an encoding of a megabyte": ("x" * 10_000, GOOD, 415),
    "a bomb": ("gzip", gzip.compress(bytes(50_000_000)), 413),
    "a bomb of zlib": ("deflate", zlib.compress(bytes(50_000_000)), 413),
    "a bomb in a bomb": ("gzip", gzip.compress(gzip.compress(bytes(50_000_000))), 400),
}
CASES |= {
    f"{path}: {name}": Case(path, {**JSON, "content-encoding": encoding}, body, status)
    for path in (PREDICT, INVOCATIONS, INFER)
    for name, (encoding, body, status) in ENCODED.items()
}

# Types that are none of ours.
CASES |= (
    {
        f"{path}: {kind or 'no type'}": Case(path, {"content-type": kind} if kind else {}, GOOD, 415)
        for path in (PREDICT, INVOCATIONS, V1, INFER)
        for kind in ("text/plain", "application/xml", FORM, "application/jsonp", "")
        # Clients of V1 and V2 name none; a form is read where there may be images, and this is none.
        if (kind or path not in (V1, INFER)) and (path, kind) != (PREDICT, FORM)
    }
    | {f"{PREDICT}: no form": Case(PREDICT, {"content-type": FORM}, GOOD, 400)}
    | {f"{path}: a page, no type": Case(path, {"origin": "http://elsewhere"}, GOOD, 415) for path in (V1, INFER)}
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    opened = Store.open(tmp_path_factory.mktemp("store"))
    promote(opened, register(opened, 1))
    with served(opened) as running:
        yield running
    opened.close()


def sent(server: Server, case: Case) -> httpx.Response:
    return server.client.post(case.path, content=case.body, headers=case.headers)


@pytest.mark.parametrize("name", list(CASES))
def test_what_is_wrong_is_refused_with_its_reason(server: Server, name: str) -> None:
    case = CASES[name]

    seen = sent(server, case)

    assert seen.status_code == case.status, seen.text[:500]
    told = seen.json()
    assert told.get("error") or told.get("message")
    if case.status == 422:
        problem = told["problems"][0]
        fields = [each["field"] for each in told["problems"]]
        assert case.field in (ANY, *fields)
        assert case.row in (ANY, problem["row"])
        assert problem["found"]
        assert problem["wanted"]
    assert len(seen.content) < 70_000


def test_there_are_many_of_them() -> None:
    assert len(CASES) >= 400


def test_nobody_else_notices(server: Server) -> None:
    good = server.predict(PLAIN).json()["prediction"]

    def ask(number: int) -> set[tuple[int, float]]:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            told = [client.post(PREDICT, json=PLAIN) for _ in range(100)]
        return {(each.status_code, each.json()["prediction"]) for each in told}

    def disturb(part: int) -> set[int]:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            cases = list(CASES.values())[part::3]
            return {client.post(case.path, content=case.body, headers=case.headers).status_code for case in cases}

    with ThreadPoolExecutor(6) as pool:
        disturbing = [pool.submit(disturb, part) for part in range(3)]
        asking = [pool.submit(ask, number) for number in range(3)]
        answers = set().union(*(each.result() for each in asking))
        refusals = set().union(*(each.result() for each in disturbing))

    assert answers == {(200, good)}
    assert refusals == {400, 413, 415, 422}


# What looks odd, and is taken without losing anything: a body and what it stands for.
TAKEN: dict[str, Callable[[], Case]] = {
    "a whole number as a float": lambda: Case(
        INFER, JSON, text(tensors(stops={"datatype": "FP32", "data": [2.0]})), 200
    ),
    "a truth value as 1": lambda: Case(INFER, JSON, text(tensors(is_new={"datatype": "UINT8", "data": [1]})), 200),
    "a whole number for a float": lambda: Case(V1, JSON, text({"instances": [{**PLAIN, "distance": 120}]}), 200),
    "NaN where null may be": lambda: Case(V1, JSON, b'{"instances": [%b, "wind": NaN}]}' % text(PLAIN)[:-1], 200),
    "a tensor's datatype twice": lambda: Case(
        INFER, JSON, text(tensors()).replace(b'"INT32"', b'"INT7", "datatype": "INT32"'), 200
    ),
    "no rows": lambda: Case(V1, JSON, b'{"instances": []}', 200),
    "an emoji in a text": lambda: Case(PREDICT, JSON, text({**PLAIN, "city": "🌧️"}), 200),
    "a zero in a text": lambda: Case(PREDICT, JSON, text({**PLAIN, "city": "\0"}), 200),
    "100,000 letters": lambda: Case(PREDICT, JSON, text({**PLAIN, "city": "x" * 100_000}), 200),
    "CSV with a byte order mark": lambda: Case(PREDICT, CSV, b"\xef\xbb\xbf" + AS_CSV, 200),
    "CSV with lines of Windows": lambda: Case(PREDICT, CSV, AS_CSV.replace(b"\n", b"\r\n"), 200),
    "columns in another order": lambda: Case(PREDICT, PARQUET, packed(FRAME[:, ::-1], "write_parquet"), 200),
}


@pytest.mark.parametrize("name", list(TAKEN))
def test_what_only_looks_odd_is_taken(server: Server, name: str) -> None:
    seen = sent(server, TAKEN[name]())

    assert seen.status_code == 200, seen.text

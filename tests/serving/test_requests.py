"""What a server says to a request that is not right: the exact status, and each field that does not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.serving.world import ROW, Server

from drivetrain.data.schema import Column
from drivetrain.errors import RequestError
from drivetrain.serving.requests import Reader


def but(**changed: Any) -> bytes:
    """Return the row with some fields changed; `...` takes one away."""
    row = {name: value for name, value in {**ROW, **changed}.items() if value is not ...}
    return json.dumps(row).encode()


def text(old: str, new: str) -> bytes:
    """Return the row's text with a piece of it changed."""
    assert old in json.dumps(ROW)
    return json.dumps(ROW).replace(old, new).encode()


NEEDED = [name for name in ROW if name not in ("ticket", "wind")]
# A body, its status, and for 422 the row and the field of each problem.
BAD: dict[str, tuple[bytes, int, list[tuple[int | None, str | None]]]] = {
    "nothing": (b"", 400, []),
    "blank": (b"   ", 400, []),
    "half an object": (b'{"ticket": "t', 400, []),
    "no JSON": (b"ticket=1&stops=2", 400, []),
    "two values": (b"{} {}", 400, []),
    "comma at the end": (text("3.25", "3.25,"), 400, []),
    "single quotes": (text('"Oslo"', "'Oslo'"), 400, []),
    "a comment": (b"// hello\n{}", 400, []),
    "byte order mark": (b"\xef\xbb\xbf" + but(), 400, []),
    "no UTF-8": (text("Oslo", "@").replace(b"@", b"\xff\xfe"), 400, []),
    "UTF-16": (json.dumps(ROW).encode("utf-16"), 400, []),
    "zero byte": (text("Oslo", "@").replace(b"@", b"\x00"), 400, []),
    "line break in a text": (text("Oslo", "@").replace(b"@", b"\n"), 400, []),
    "lone surrogate": (text("Oslo", "\\ud800"), 400, []),
    "bad escape": (text("Oslo", "\\x41"), 400, []),
    "NaN": (text("120.5", "NaN"), 400, []),
    "Infinity": (text("120.5", "Infinity"), 400, []),
    "minus Infinity": (text("120.5", "-Infinity"), 400, []),
    "leading zero": (text("120.5", "0120.5"), 400, []),
    "plus sign": (text("120.5", "+120.5"), 400, []),
    "hexadecimal": (text("120.5", "0x7b"), 400, []),
    "deep array": (b"[" * 50_000 + b"]" * 50_000, 400, []),
    "deep array, never closed": (b"[" * 100_000, 400, []),
    "deep objects": (b'{"ticket":' * 15_000 + b"1" + b"}" * 15_000, 400, []),
    "null": (b"null", 422, [(0, None)]),
    "a number": (b"5", 422, [(0, None)]),
    "a text": (b'"row"', 422, [(0, None)]),
    "true": (b"true", 422, [(0, None)]),
    "rows that are none": (b"[1, null]", 422, [(0, None), (1, None)]),
    "array in an array": (b"[[]]", 422, [(0, None)]),
    "no fields": (b"{}", 422, [(0, name) for name in NEEDED]),
    "missing field": (but(stops=...), 422, [(0, "stops")]),
    "missing in the second row": (b"[" + but() + b"," + but(city=...) + b"]", 422, [(1, "city")]),
    "null where none may be": (but(distance=None), 422, [(0, "distance")]),
    "text for a number": (but(distance="120.5"), 422, [(0, "distance")]),
    "empty text for a number": (but(distance=""), 422, [(0, "distance")]),
    "truth value for a number": (but(distance=True), 422, [(0, "distance")]),
    "array for a number": (but(distance=[1.0]), 422, [(0, "distance")]),
    "object for a number": (but(distance={"value": 1}), 422, [(0, "distance")]),
    "too large for a float": (text("120.5", "1e999"), 422, [(0, "distance")]),
    "integer too large for a float": (text("120.5", "9" * 400), 422, [(0, "distance")]),
    "integer of 100,000 digits": (text("120.5", "9" * 100_000), 422, [(0, "distance")]),
    "fraction for an integer": (but(stops=1.5), 422, [(0, "stops")]),
    "whole float for an integer": (text('"stops": 2', '"stops": 2.0'), 422, [(0, "stops")]),
    "truth value for an integer": (but(stops=False), 422, [(0, "stops")]),
    "text for an integer": (but(stops="2"), 422, [(0, "stops")]),
    "integer beyond 32 bits": (but(stops=2**31), 422, [(0, "stops")]),
    "integer below 32 bits": (but(stops=-(2**31) - 1), 422, [(0, "stops")]),
    "integer beyond 64 bits": (but(stops=2**64), 422, [(0, "stops")]),
    "integer of 500 digits": (text('"stops": 2', '"stops": ' + "9" * 500), 422, [(0, "stops")]),
    "number for a truth value": (but(is_new=1), 422, [(0, "is_new")]),
    "text for a truth value": (but(is_new="true"), 422, [(0, "is_new")]),
    "number for a text": (but(city=5), 422, [(0, "city")]),
    "null for a text": (but(city=None), 422, [(0, "city")]),
    "array for a text": (but(city=["Oslo"]), 422, [(0, "city")]),
    "number for a time": (but(asked_at=1769851800), 422, [(0, "asked_at")]),
    "words for a time": (but(asked_at="yesterday"), 422, [(0, "asked_at")]),
    "date for a time": (but(asked_at="2026-01-31"), 422, [(0, "asked_at")]),
    "time that does not exist": (but(asked_at="2026-02-30T09:30:00"), 422, [(0, "asked_at")]),
    "time with an offset": (but(asked_at="2026-01-31T09:30:00Z"), 422, [(0, "asked_at")]),
    "time for a date": (but(day="2026-01-31T00:00:00"), 422, [(0, "day")]),
    "date that does not exist": (but(day="2026-13-01"), 422, [(0, "day")]),
    "text for what may be null": (but(wind="3"), 422, [(0, "wind")]),
    "number for the key": (but(ticket=7), 422, [(0, "ticket")]),
    "unknown field": (but(colour="red"), 422, [(0, "colour")]),
    "misspelled field": (but(wind=..., winds=3.0), 422, [(0, "winds")]),
    "the label": (but(is_late=1), 422, [(0, "is_late")]),
    "field twice": (text('"stops": 2', '"stops": 2, "stops": 3'), 422, [(None, "stops")]),
    "field twice, in the second row": (
        b"[" + but() + b"," + text('"stops": 2', '"stops": 2, "stops": 3') + b"]", 422, [(None, "stops")]
    ),
    "field twice, another left out": (
        but(wind=...).replace(b'"stops": 2', b'"stops": 2, "stops": 3'), 422, [(None, "stops")]
    ),
    "three problems": (but(stops="2", city=None, day=...), 422, [(0, "stops"), (0, "city"), (0, "day")]),
    "more problems than are told": (
        json.dumps([{}] * 30).encode(), 422, [(place // 6, (NEEDED * 4)[place]) for place in range(20)]
    ),
    "too many rows": (json.dumps([ROW] * 501).encode(), 413, []),
    "too many broken rows": (json.dumps([1] * 501).encode(), 413, []),
    "too large": (b" " * 200_001, 413, []),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_is_refused_with_what_is_wrong(server: Server, name: str) -> None:
    body, status, problems = BAD[name]

    seen = server.client.post("/predict", content=body, headers={"content-type": "application/json"})

    assert seen.status_code == status, seen.text
    told = seen.json()
    assert told["error"]
    assert [(problem["row"], problem["field"]) for problem in told.get("problems", [])] == problems
    assert all(problem["found"] and problem["wanted"] for problem in told.get("problems", []))


GOOD = {
    "as it is": but(),
    "no key": but(ticket=...),
    "null key": but(ticket=None),
    "no wind": but(wind=...),
    "null wind": but(wind=None),
    "integer for a float": but(distance=120),
    "float with exponent": text("120.5", "1.205e2"),
    "fraction of a second": but(asked_at="2026-01-31T09:30:00.250"),
    "space before colons": json.dumps(ROW, separators=(", ", " : ")).encode(),
    "many lines": json.dumps(ROW, indent=2).encode(),
    "blanks around": b" \r\n\t" + but() + b"\n ",
    "text with the end of a name in it": but(city='Os":lo'),
    "every plane of Unicode": but(city="Tromsø 東京 \U0001f6eb"),
    "escaped pair": text("Oslo", "\\ud83d\\udeeb"),
    "zero character": but(city="a\0b"),
    "long text": but(city="x" * 50_000),
    "largest integer": but(stops=2**31 - 1),
    "smallest float": but(distance=5e-324),
}


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_but_right_body_is_answered(server: Server, name: str) -> None:
    seen = server.client.post("/predict", content=GOOD[name], headers={"content-type": "application/json"})

    assert seen.status_code == 200, seen.text
    assert 0 <= seen.json()["prediction"] <= 1


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("POST", "/predict", "", 415),
        ("POST", "/predict", "text/plain", 415),
        ("POST", "/predict", "application/x-www-form-urlencoded", 415),
        ("POST", "/predict", "application/jsonp", 415),
        ("POST", "/predict", "application/json; charset=utf-8", 200),
        ("POST", "/predict", "Application/JSON", 200),
        ("GET", "/predict", "", 405),
        ("PUT", "/predict", "application/json", 405),
        ("DELETE", "/feedback", "", 405),
        ("POST", "/healthz", "application/json", 405),
        ("POST", "/predicts", "application/json", 404),
        ("GET", "/predict/", "", 404),
        ("GET", "/../etc/passwd", "", 404),
        ("GET", "/favicon.ico", "", 404),
        ("HEAD", "/healthz", "", 200),
    ],
)
def test_a_wrong_way_to_ask_gets_its_own_status(server: Server, method: str, path: str, kind: str, status: int) -> None:
    headers = {"content-type": kind} if kind else {}

    seen = server.client.request(method, path, content=but() if method in ("POST", "PUT") else None, headers=headers)

    assert seen.status_code == status
    if status == 405:
        assert seen.headers["allow"] in ("GET", "POST")


def test_a_body_of_unknown_length_is_read_up_to_the_limit(server: Server) -> None:
    def pieces(count: int) -> Any:
        yield but()
        for _ in range(count):
            yield b" " * 1000

    headers = {"content-type": "application/json"}
    small = server.client.post("/predict", content=pieces(3), headers=headers)
    large = server.client.post("/predict", content=pieces(300), headers=headers)

    assert small.status_code == 200
    assert large.status_code == 413


def test_a_misspelled_field_is_told_its_nearest_name(server: Server) -> None:
    seen = server.client.post(
        "/predict", content=but(wind=..., winds=3.0), headers={"content-type": "application/json"}
    )

    assert seen.json()["problems"][0]["wanted"] == "did you mean wind?"


def test_an_array_where_one_row_is_asked_for_is_named() -> None:
    reader = Reader([Column(name="x", kind="float", dtype="Float64")])

    with pytest.raises(RequestError, match="the body is an array, and one row is an object"):
        reader.one(b' [{"x": 1.0}]')

"""Noise in every reader: whatever comes, it is read or refused, and never fails in another way."""

from __future__ import annotations

import random
import socket
import struct
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.test_bad_input import AS_ARROW, AS_CSV, AS_FILE, AS_PARQUET, FRAME, PLAIN
from tests.serving.world import ROW, Server, signature

from drivetrain.errors import RequestError
from drivetrain.serving.encoding import decoded, encoded
from drivetrain.serving.invocations import FORMS
from drivetrain.serving.invocations import read as read_invocation
from drivetrain.serving.oip import read as read_inference
from drivetrain.serving.requests import reader_for
from drivetrain.serving.service import Terms
from drivetrain.serving.tables import Tables
from drivetrain.serving.tensors import DATATYPES, from_bytes, from_values, rows_from

READER = reader_for(signature())
NAMES = st.sampled_from([*ROW, "x", "", "\U0001f327"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(list(ROW.values())),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=8), max_leaves=20
)
SHAPES = st.lists(st.integers(-2, 4) | st.just(2**62), max_size=4)
TENSORS = st.fixed_dictionaries(
    {"name": NAMES, "datatype": st.sampled_from(DATATYPES), "shape": SHAPES},
    optional={
        "data": VALUES,
        "parameters": st.dictionaries(st.just("binary_data_size"), st.integers(-1, 20) | VALUES, max_size=1),
    },
)


def refused_or(read: Any, *given: Any, **named: Any) -> Any:
    """Return what a reader makes of something, or None where it refuses it as it should."""
    try:
        return read(*given, **named)
    except RequestError as error:
        refusal = error
    assert refusal.status in (400, 413, 415, 422)
    msgspec.json.encode(refusal.problems)
    return None


@given(form=st.sampled_from(list(FORMS)), value=VALUES)
def test_any_value_under_a_form_of_mlflow(form: str, value: Any) -> None:
    refused_or(read_invocation, msgspec.json.encode({form: value}), READER, FORMS, 10)


@given(inputs=st.lists(TENSORS, max_size=3), outputs=VALUES, tail=st.binary(max_size=20), shift=st.integers(-3, 3))
def test_any_tensors(inputs: Any, outputs: Any, tail: bytes, shift: int) -> None:
    head = msgspec.json.encode({"inputs": inputs, "outputs": outputs})
    for body, header in ((head, None), (head + tail, str(len(head) + shift))):
        found = refused_or(read_inference, body, header)
        if found is not None:
            refused_or(rows_from, READER, found[1], limit=10)


@given(datatype=st.sampled_from([*DATATYPES, "INT7", ""]), shape=SHAPES, data=st.binary(max_size=40), value=VALUES)
def test_any_elements(datatype: str, shape: list[int], data: bytes, value: Any) -> None:
    for found in (
        refused_or(from_bytes, "distance", datatype, shape, data),
        refused_or(from_values, "distance", datatype, shape, value),
    ):
        if found is not None:
            refused_or(rows_from, READER, [found], limit=10)


@given(body=st.binary(max_size=60), name=st.sampled_from(["gzip", "deflate", "zstd", "br"]), cut=st.integers(0, 30))
def test_any_bytes_as_compressed(body: bytes, name: str, cut: int) -> None:
    refused_or(decoded, body, name, limit=50)
    if name in ("gzip", "deflate"):
        refused_or(decoded, encoded(body, name)[:-cut], name, limit=50)


@pytest.mark.parametrize(
    ("kind", "body"),
    [("arrow stream", AS_ARROW), ("arrow file", AS_FILE), ("parquet", AS_PARQUET), ("csv", AS_CSV)],
)
def test_tables_with_a_few_bytes_changed(kind: str, body: bytes) -> None:
    tables = Tables(Terms(name="answers", model="late", max_rows=100, timeout_s=10))
    chance = random.Random(7)
    told = []

    for _ in range(150):
        changed = bytearray(body)
        for _ in range(chance.randrange(1, 5)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        told.append(refused_or(tables.read, READER, bytes(changed), kind))
    rows, _ = tables.read(READER, body, kind)
    tables.close()

    assert None in told
    assert rows == FRAME.rows()


@settings(max_examples=30)
@given(body=st.binary(max_size=200))
def test_any_bytes_as_csv(body: bytes) -> None:
    from drivetrain.serving.tables import from_csv, rows_of

    found = refused_or(from_csv, body, READER, 10)
    if found is not None:
        assert isinstance(found, pl.DataFrame)
        refused_or(rows_of, READER, found)


GOOD = msgspec.json.encode(PLAIN)
HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
LYING = {
    "longer than the body": HEAD + b"Content-Length: 9999\r\n\r\n" + GOOD,
    "shorter than the body": HEAD + b"Content-Length: 10\r\n\r\n" + GOOD,
    "negative": HEAD + b"Content-Length: -5\r\n\r\n" + GOOD,
    "a word": HEAD + b"Content-Length: many\r\n\r\n" + GOOD,
    "beyond 64 bits": HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n" + GOOD,
    "huge": HEAD + b"Content-Length: 99999999999\r\n\r\n" + GOOD,
    "two of them": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + GOOD,
    "beside chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n",
    "chunks of no length": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunks that end early": HEAD + b"Transfer-Encoding: chunked\r\n\r\n99\r\n{}",
    "no HTTP": struct.pack(">I", 7) * 30,
}


@pytest.mark.parametrize("name", list(LYING))
def test_a_length_that_lies_harms_nobody_else(server: Server, name: str) -> None:
    host, port = server.url.removeprefix("http://").split(":")

    with socket.create_connection((host, int(port)), timeout=5) as connection:
        told = b""
        try:
            connection.sendall(LYING[name])
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                told += part
        except OSError:
            pass  # it was cut off, which is an answer as well

    assert b" 50" not in told[:20]
    assert b"200 OK" not in told
    assert server.predict(PLAIN).status_code == 200

"""Bodies that travel compressed, among them those that are not what they say."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.world import ROW, Server

from drivetrain.errors import RequestError
from drivetrain.serving.encoding import chosen, decoded, encoded

pyarrow = pytest.importorskip("pyarrow", reason="needs drivetrain[arrow]")

BODY = msgspec.json.encode(ROW)
RAW = zlib.compressobj(wbits=-15)


def packed(body: bytes, name: str) -> bytes:
    """Return a body as a client would compress it."""
    if name in ("gzip", "deflate"):
        return gzip.compress(body, 1) if name == "gzip" else zlib.compress(body, 1)
    found: bytes = pyarrow.Codec({"zstd": "zstd", "br": "brotli"}[name], 1).compress(body, asbytes=True)
    return found


PACKED = {name: packed(BODY, name) for name in ("gzip", "deflate", "zstd", "br")}


@pytest.mark.parametrize("name", [*PACKED, "identity", "GZIP"])
def test_a_compressed_request_is_answered(server: Server, name: str) -> None:
    body = PACKED.get(name.lower(), BODY)

    seen = server.client.post(
        "/predict", content=body, headers={"content-type": "application/json", "content-encoding": name}
    )

    assert seen.status_code == 200, seen.text
    assert seen.json()["version"] == "late@1"


def test_deflate_is_read_with_and_without_its_header() -> None:
    raw = RAW.compress(BODY) + RAW.flush()

    assert decoded(raw, "deflate", limit=1000) == decoded(zlib.compress(BODY), "deflate", limit=1000) == BODY


def test_gzip_may_have_several_members() -> None:
    assert decoded(gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 8, "gzip", limit=10) == b"one two"


@pytest.mark.parametrize("name", list(PACKED))
@pytest.mark.parametrize("damage", ["half", "junk", "nothing", "tail"])
def test_what_is_cut_off_or_broken_is_refused(name: str, damage: str) -> None:
    whole = PACKED[name]
    body = {"half": whole[: len(whole) // 2], "junk": b"\x99" * 50, "nothing": b"", "tail": whole + b"\x99junk"}[damage]
    if damage == "nothing" and name in ("zstd", "br"):
        assert decoded(body, name, limit=1000) == b""
        return

    with pytest.raises(RequestError) as caught:
        decoded(body, name, limit=1000)

    assert caught.value.status == 400


@pytest.mark.parametrize("name", list(PACKED))
def test_a_bomb_is_refused_before_it_is_large(name: str) -> None:
    bomb = packed(bytes(100_000_000), name)
    tracemalloc.start()

    with pytest.raises(RequestError) as caught:
        decoded(bomb, name, limit=1_000_000)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 8_000_000


def test_an_encoding_that_is_not_known_is_refused(server: Server) -> None:
    seen = server.client.post(
        "/predict", content=BODY, headers={"content-type": "application/json", "content-encoding": "compress"}
    )

    assert seen.status_code == 415
    assert "gzip` or `deflate` or `zstd` or `br`" in seen.json()["error"]


@given(body=st.binary(max_size=2000), name=st.sampled_from(["gzip", "deflate"]))
def test_what_is_packed_is_unpacked(body: bytes, name: str) -> None:
    assert decoded(encoded(body, name), name, limit=2000) == body


def test_a_large_answer_is_compressed_where_the_client_takes_that(server: Server) -> None:
    def asked(rows: int, accepted: str) -> Any:
        return server.predict([ROW] * rows, headers={"accept-encoding": accepted})

    large, small, plain = asked(400, "gzip"), asked(1, "gzip"), asked(400, "identity")

    assert large.headers["content-encoding"] == "gzip"
    assert large.headers["vary"] == "accept-encoding"
    assert int(large.headers["content-length"]) < 0.6 * int(plain.headers["content-length"])
    assert len(large.json()["predictions"]) == len(plain.json()["predictions"]) == 400
    assert "content-encoding" not in small.headers
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    ("accepted", "name"),
    [("", ""), ("gzip, deflate, br", "gzip"), ("br", ""), ("gzip;q=0.0, deflate;q=0.5", "deflate"), ("*", "gzip")],
)
def test_the_client_chooses_the_encoding(accepted: str, name: str) -> None:
    assert chosen(accepted) == name

"""Clients that do not wait for ever: they say so, or go away."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.serving.test_predictor import cities
from tests.serving.world import ROW, Server, logged, promote, register, served, wait_until

from drivetrain.errors import RequestError
from drivetrain.registry.bundle import pack
from drivetrain.serving.patience import until
from drivetrain.store.store import Store
from drivetrain.system.load import load_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAKES_S = 1.0
SLOW = f"""
import time
import polars as pl
import drivetrain as dt

@dt.dataset(key="ticket", time="asked_at", label="is_late")
def tickets() -> pl.LazyFrame: ...

@dt.dataset
def cities() -> pl.LazyFrame: ...

@dt.features
def asked(tickets: pl.LazyFrame, cities: pl.LazyFrame) -> pl.LazyFrame:
    time.sleep({TAKES_S})
    return tickets.select("ticket", "distance", "stops", "wind")
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Store]]:
    """Return a server whose features function takes a while."""
    folder: Path = tmp_path_factory.mktemp("slow")
    store = Store.open(folder / "store")
    (folder / "slow_system.py").write_text(SLOW)
    code = pack(load_system(folder / "slow_system.py"), folder, store)
    side = {"cities": cities(store, 0.0)}
    promote(store, register(store, 1, code=code, features="asked", dataset="tickets", side_inputs=side))
    with served(store) as server:
        yield server, store
    store.close()


def ask(server: Server, ticket: str, headers: dict[str, str]) -> httpx.Response:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        return client.post("/predict", json={**ROW, "ticket": ticket}, headers=headers)


@pytest.mark.parametrize(
    "header", [{"x-request-timeout-ms": "1250"}, {"x-envoy-expected-rq-timeout-ms": "1250"}, {"grpc-timeout": "1250m"}]
)
def test_a_client_that_could_not_be_answered_before_it_goes_is_told_so_at_once(
    slow: tuple[Server, Store], header: dict[str, str]
) -> None:
    server, _ = slow
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, server, "first", {})
        time.sleep(TAKES_S / 4)
        began = time.monotonic()
        second = pool.submit(ask, server, "second", header).result()
        took_s = time.monotonic() - began

        assert (first.result().status_code, second.status_code) == (200, 504)
    assert took_s < TAKES_S / 2


def test_a_client_that_has_gone_is_not_worked_for(slow: tuple[Server, Store]) -> None:
    server, store = slow
    body = json.dumps({**ROW, "ticket": "gone"}).encode()
    request = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, server, "stays", {})
        time.sleep(TAKES_S / 4)
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(request + str(len(body)).encode() + b"\r\n\r\n" + body)
            time.sleep(TAKES_S / 8)
        assert first.result().status_code == 200
    assert ask(server, "after", {}).status_code == 200

    wait_until(lambda: {"stays", "after"} <= set(logged(store)["key"]))
    assert "gone" not in set(logged(store)["key"])


def test_a_header_that_is_no_time_is_refused(slow: tuple[Server, Store]) -> None:
    server, _ = slow

    assert ask(server, "t", {"x-request-timeout-ms": "soon"}).status_code == 400
    for bad in ({"x-request-timeout-ms": "-1"}, {"x-request-timeout-ms": "nan"}, {"grpc-timeout": "5"}):
        with pytest.raises(RequestError) as refused:
            until(bad)
        assert refused.value.status == 400


def test_without_a_header_a_client_waits_for_ever() -> None:
    nothing: dict[str, Any] = {}

    assert until(nothing) == float("inf")

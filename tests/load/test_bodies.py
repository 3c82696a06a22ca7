"""Requests that a server's own description gives, and what is said where it gives none."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from drivetrain.errors import NotFound, UsageError
from drivetrain.load.bodies import examples_of, recorded_by
from drivetrain.load.plan import Target
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAKES = {"post": {"requestBody": {"content": {"application/json": {"examples": {"one row": {"value": {"x": 1}}}}}}}}
PATHS = {"/predict": TAKES, "/healthz": {"get": {}}}


class _Described(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path == "/late/openapi.json"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"paths": PATHS} if known else {"error": "this server answers for late"}).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Described)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_example_comes_from_the_description_of_the_path(url: str) -> None:
    assert examples_of(Target(url=f"{url}/late/predict")) == [b'{"x":1}']


def test_a_path_without_an_example_names_the_nearest_with_one(url: str) -> None:
    with pytest.raises(UsageError, match="no example of a request to /predct") as refused:
        examples_of(Target(url=f"{url}/late/predct"))
    assert refused.value.remedy == "did you mean /late/predict? Else give the request with --body FILE"


def test_a_server_without_a_description_is_quoted(url: str) -> None:
    with pytest.raises(UsageError, match=r'answers 404: \{"error": "this server answers for late"\}') as refused:
        examples_of(Target(url=f"{url}/predict"))
    assert refused.value.remedy == "give the request with --body FILE"


def test_a_service_that_was_asked_nothing_has_nothing_to_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        recorded_by(Store.open(tmp_path), "service")
    assert refused.value.remedy.startswith("it has been asked nothing yet")

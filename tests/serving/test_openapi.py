"""What a service says about itself, held against what it does by requests that are made up from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.serving.world import MODEL, Server

from drivetrain.data.schema import Column
from drivetrain.serving.openapi import schema_of

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance"
)

pytestmark = pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="needs schemathesis")


def made_up(url: str, folder: Path, examples: int, phases: str = "examples,coverage,fuzzing") -> int:
    """Send requests that are made up from the description to every route; return how many, all answered as it says."""
    hooks = Path(__file__).parent / "clients" / "schemathesis_hooks.py"
    options = ["--checks", CHECKS, "--phases", phases, "--seed", "1", "--warnings", "off"]
    done = subprocess.run(
        [
            str(SCHEMATHESIS),
            "run",
            f"{url}/openapi.json",
            *options,
            "-n",
            str(examples),
            "--continue-on-failure",
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(hooks), "NO_PROXY": "*", "COLUMNS": "200", "NO_COLOR": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    told = re.search(r"([\d,]+) generated, [\d,]+ passed", done.stdout)
    assert told, done.stdout[-1000:]
    return int(told[1].replace(",", ""))


def test_requests_that_are_made_up_are_answered_as_the_description_says(server: Server, tmp_path: Path) -> None:
    assert made_up(server.url, tmp_path, 3) >= 300
    assert 'status="5xx"} 0' in server.client.get("/metrics").text


@pytest.mark.slow
def test_many_more_of_them_are_as_well(server: Server, tmp_path: Path) -> None:
    assert made_up(server.url, tmp_path, 600) >= 10_000
    assert 'status="5xx"} 0' in server.client.get("/metrics").text


def test_every_route_is_in_the_description(server: Server) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]

    for path in ("/predict", "/invocations", "/v2/models/{model}/infer", "/v1/models/{model}:predict", "/ping"):
        assert path in paths
    assert paths["/v2/models/{model}/infer"]["post"]["summary"] == "Answer the rows that tensors hold"
    assert paths["/v2/models/{model}"]["get"]["parameters"][0]["schema"]["enum"] == [MODEL]
    refusals = {
        path: set(paths[path]["post"]["responses"]["422"]["content"]["application/json"]["schema"]["required"])
        for path in ("/predict", "/invocations")
    }
    assert refusals == {"/predict": {"error"}, "/invocations": {"error_code", "message"}}


@pytest.mark.parametrize(
    ("dtype", "known"),
    [("Datetime(time_unit='us', time_zone=None)", False), ("Datetime(time_unit='us', time_zone='UTC')", True)],
)
def test_a_time_without_an_offset_is_no_date_time_of_the_standard(dtype: str, known: bool) -> None:
    schema = schema_of(Column(name="at", kind="datetime", dtype=dtype))

    assert (schema.get("format") == "date-time") is known

"""A trace that a client has begun stands in the log beside each of its predictions."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pytest
from tests.serving.world import MODEL, ROW, SERVICE, Server, logged, promote, register, served

from drivetrain.serving.batching import failure_of
from drivetrain.serving.journal import Line
from drivetrain.serving.log import find_prediction
from drivetrain.serving.sealing import seal
from drivetrain.training.trace import Trace

if TYPE_CHECKING:
    from drivetrain.store.store import Store


def header(number: int) -> dict[str, str]:
    return {"traceparent": f"00-{number:032x}-00f067aa0ba902b7-01"}


def traces(store: Store) -> dict[str, str | None]:
    """Return the trace of each prediction in the log."""
    log = logged(store)
    column = log["trace"] if "trace" in log.columns else pl.repeat(None, len(log), eager=True)
    return dict(zip(log["id"], column, strict=True))


def test_each_protocol_keeps_the_trace_and_no_other_request_has_it(server: Server) -> None:
    plain = {name: value for name, value in ROW.items() if name != "ticket"}

    def asked(number: int) -> list[str]:
        options: dict[str, Any] = {"headers": header(number)} if number else {}
        one = server.predict(ROW, **options).json()
        many = server.predict([ROW, ROW], **options).json()["predictions"]
        v1 = server.client.post(f"/v1/models/{MODEL}:predict", json={"instances": [plain]}, **options).json()
        return [one["id"], *(each["id"] for each in many), *v1["ids"]]

    before, traced, after = asked(0), asked(7), asked(0)

    found = traces(server.store)
    assert {found[each] for each in traced} == {f"{7:032x}"}
    assert {found[each] for each in (*before, *after)} == {None}
    assert find_prediction(server.store, traced[0]).trace == f"{7:032x}"
    assert find_prediction(server.store, after[0]).trace == ""


def test_requests_that_are_answered_together_keep_their_traces_apart(server: Server) -> None:
    def ask(number: int) -> tuple[str, str | None]:
        # Every third has none.
        options: dict[str, Any] = {"headers": header(number)} if number % 3 else {}
        name = server.predict(ROW, **options).json()["id"]
        return name, f"{number:032x}" if number % 3 else None

    with ThreadPoolExecutor(16) as pool:
        wanted = dict(pool.map(ask, range(1, 200)))

    found = traces(server.store)
    assert {name: found[name] for name in wanted} == wanted


def test_a_header_that_is_none_is_ignored(server: Server) -> None:
    wrong = {"traceparent": f"ff-{7:032x}-00f067aa0ba902b7-01"}
    twice = list((header(7) | {}).items()) * 2

    names = [server.predict(ROW, headers=given).json()["id"] for given in (wrong, twice)]

    assert {traces(server.store)[name] for name in names} == {None}


def test_a_known_answer_has_the_trace_of_who_asks(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store, CACHE="5m") as caching:
        names = [caching.predict(ROW, headers=header(number)).json()["id"] for number in (1, 2)]

    assert [traces(store)[name] for name in names] == [f"{1:032x}", f"{2:032x}"]
    assert seal(store, SERVICE) == 2
    assert [traces(store)[name] for name in names] == [f"{1:032x}", f"{2:032x}"]
    assert find_prediction(store, names[1]).trace == f"{2:032x}"


def test_lines_without_traces_are_as_they_always_were() -> None:
    line = Line(1, "late@1", "champion", ["pred-1"], None, [msgspec.Raw(b"{}")], [0.5])

    assert b"traces" not in msgspec.json.encode(line)


def test_a_line_of_the_servers_log_names_the_trace(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "drivetrain.serving"):
        failure_of(ValueError("x"), Trace("4bf92f3577b34da6a3ce929d0e0e4736", 1))

    assert caplog.messages[0].endswith("could not be answered (trace 4bf92f3577b34da6a3ce929d0e0e4736)")

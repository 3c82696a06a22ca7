"""Trace Context: which headers name a trace, and what goes along with a request that is made for it."""

from __future__ import annotations

import pytest

from drivetrain.training.trace import Trace, trace_of

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (f"00-{ID}-{SPAN}-01", 1),
        (f"00-{ID}-{SPAN}-00", 0),
        (f" 00-{ID}-{SPAN}-01\t", 1),
        (f"00-{ID}-{SPAN}-03", 3),
        (f"00-{ID}-{SPAN}-ff", 3),  # flags without a meaning do not go on
        (f"cc-{ID}-{SPAN}-01", 1),  # a version to come, read as 00
        (f"01-{ID}-{SPAN}-01-what-may-come", 1),
    ],
)
def test_a_header_names_a_trace(header: str, flags: int) -> None:
    assert trace_of([header]) == Trace(ID, flags)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        f"ff-{ID}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID.upper()}-{SPAN}-01",
        f"00-{ID}-{SPAN.upper()}-01",
        f"0A-{ID}-{SPAN}-01",
        f"00-{ID}-{SPAN}-0X",
        f"00-{ID[:-1]}-{SPAN}-01",
        f"00-{ID}-{SPAN}-01-",
        f"00-{ID}-{SPAN}-01-more",
        f"01-{ID}-{SPAN}-01.more",
        f"00-{ID}-{SPAN}-1",
        f"00_{ID}_{SPAN}_01",
        f"00-{ID}-{SPAN}-01\n",
        f"00-{'٠' * 31}1-{SPAN}-01",
    ],
)
def test_what_is_no_trace_is_ignored(header: str) -> None:
    assert trace_of([header]) is None


def test_two_headers_name_none() -> None:
    assert trace_of([f"00-{ID}-{SPAN}-01"] * 2) is None
    assert trace_of([]) is None


def test_a_request_has_the_trace_and_a_parent_of_its_own() -> None:
    trace = trace_of([f"00-{ID}-{SPAN}-01"], ["vendor=1", "other=2"])
    assert trace is not None

    first, second = (trace.headers() for _ in range(2))

    assert first["traceparent"].startswith(f"00-{ID}-")
    assert first["traceparent"].endswith("-01")
    assert len({SPAN, first["traceparent"].split("-")[2], second["traceparent"].split("-")[2]}) == 3
    assert trace_of([first["traceparent"]], [first["tracestate"]]) == trace
    assert first["tracestate"] == "vendor=1,other=2"
    assert "tracestate" not in Trace(ID, 0).headers()

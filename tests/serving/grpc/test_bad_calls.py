"""Calls that are wrong in every way: each gets the status that the docs name, and harms nobody else."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
from tests.serving.grpc.calls import PREDICTOR, GrpcServed, refused
from tests.serving.world import ROW

from drivetrain.serving.grpc.proto import Protos

if TYPE_CHECKING:
    from collections.abc import Iterator

INFER = "/inference.GRPCInferenceService/ModelInfer"
INVALID, NOT_FOUND, TOO_MUCH = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
KINDS: dict[str, tuple[str, str]] = {
    "ticket": ("BYTES", "bytes_contents"),
    "asked_at": ("BYTES", "bytes_contents"),
    "distance": ("FP64", "fp64_contents"),
    "stops": ("INT32", "int_contents"),
    "is_new": ("BOOL", "bool_contents"),
    "city": ("BYTES", "bytes_contents"),
    "day": ("BYTES", "bytes_contents"),
    "wind": ("FP64", "fp64_contents"),
}
PLACES = {name: place for place, name in enumerate(KINDS)}


@pytest.fixture(scope="module")
def protos() -> Protos:
    from importlib.resources import files

    text = (files("drivetrain.serving.grpc") / "open_inference.proto").read_text("utf-8")
    return Protos({"open_inference.proto": text})


@pytest.fixture(scope="module")
def others(running: GrpcServed) -> Iterator[list[Any]]:
    """Ask all the time as a client that does nothing wrong, and return what went wrong for it."""
    typed = running.typed()
    wrong: list[Any] = []
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            try:
                assert typed.predict().version == "late@1"
            except Exception as error:
                wrong.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    yield wrong
    stopped.set()
    asking.join(timeout=30)


def request(protos: Protos, *, raw: bool = False) -> Any:
    """Return a right request of one row."""
    message = protos.message("inference.ModelInferRequest")(model_name="late")
    for name, (kind, field) in KINDS.items():
        value: Any = ROW[name]
        tensor = message.inputs.add(name=name, datatype=kind, shape=[1])
        if raw:
            text = str(value).encode()
            packed = {"FP64": "<d", "INT32": "<i", "BOOL": "?"}
            data = struct.pack("<I", len(text)) + text if kind == "BYTES" else struct.pack(packed[kind], value)
            message.raw_input_contents.append(data)
        else:
            getattr(tensor.contents, field).append(value.encode() if kind == "BYTES" else value)
    return message


def at(message: Any, name: str) -> Any:
    return message.inputs[PLACES[name]]


def contents(message: Any, name: str, field: str, values: list[Any], shape: list[int] | None = None) -> None:
    tensor = at(message, name)
    tensor.ClearField("contents")
    getattr(tensor.contents, field).extend(values)
    if shape is not None:
        tensor.shape[:] = shape


def retyped(message: Any, name: str, datatype: str, field: str, values: list[Any]) -> None:
    at(message, name).datatype = datatype
    contents(message, name, field, values)


def raw(message: Any, name: str, data: bytes) -> None:
    message.raw_input_contents[PLACES[name]] = data


def million_rows(message: Any) -> None:
    at(message, "distance").shape[:] = [1_000_000]
    raw(message, "distance", bytes(100_000))


def many(message: Any, rows: int) -> None:
    for tensor in message.inputs:
        field = KINDS[tensor.name][1]
        contents(message, tensor.name, field, list(getattr(tensor.contents, field)) * rows, [rows])


TYPED: dict[str, tuple[Any, Any, str]] = {
    "another model": (lambda m: setattr(m, "model_name", "early"), NOT_FOUND, "no model 'early'"),
    "no model": (lambda m: m.ClearField("model_name"), NOT_FOUND, "no model ''"),
    "another version": (lambda m: setattr(m, "model_version", "9"), NOT_FOUND, "version '9'"),
    "a path as version": (lambda m: setattr(m, "model_version", "../../etc"), NOT_FOUND, "version '../../etc'"),
    "no inputs": (lambda m: m.ClearField("inputs"), INVALID, "distance: found nothing"),
    "a missing input": (lambda m: m.inputs.pop(PLACES["city"]), INVALID, "city: found nothing"),
    "an extra input": (
        lambda m: m.inputs.add(name="tail", datatype="BOOL", shape=[1]).contents.bool_contents.append(True),
        INVALID,
        "tail: found an unknown input",
    ),
    "a misspelt input": (lambda m: setattr(at(m, "wind"), "name", "wnid"), INVALID, "did you mean wind?"),
    "a duplicate input": (lambda m: m.inputs.append(at(m, "city")), INVALID, "city: found two tensors"),
    "an unnamed input": (lambda m: setattr(at(m, "city"), "name", ""), INVALID, "found an unknown input"),
    "an unknown output": (lambda m: m.outputs.add(name="odds"), INVALID, "odds: found an unknown output"),
    "an unknown datatype": (lambda m: setattr(at(m, "wind"), "datatype", "FP63"), INVALID, "the datatype 'FP63'"),
    "no datatype": (lambda m: setattr(at(m, "wind"), "datatype", ""), INVALID, "the datatype ''"),
    "text for a number": (
        lambda m: retyped(m, "wind", "BYTES", "bytes_contents", [b"strong"]),
        INVALID,
        'wind: found "strong", wanted a number',
    ),
    "a number for text": (
        lambda m: retyped(m, "city", "FP64", "fp64_contents", [1.0]),
        INVALID,
        "city: found 1.0, wanted a text",
    ),
    "contents of another datatype": (
        lambda m: contents(m, "wind", "int_contents", [3]),
        INVALID,
        "wind: found `int_contents` for FP64, wanted `fp64_contents`",
    ),
    "contents of two datatypes": (
        lambda m: at(m, "wind").contents.int_contents.append(1),
        INVALID,
        "wind: found `int_contents` for FP64",
    ),
    "typed contents of FP16": (lambda m: setattr(at(m, "wind"), "datatype", "FP16"), INVALID, "`raw_input_contents`"),
    "no contents": (lambda m: at(m, "wind").ClearField("contents"), INVALID, "wind: found 0 elements, wanted 1"),
    "too many elements": (lambda m: contents(m, "wind", "fp64_contents", [1.0, 2.0]), INVALID, "found 2 elements"),
    "too few texts": (lambda m: contents(m, "city", "bytes_contents", [b"a"], [2]), INVALID, "found 1 elements"),
    "no shape": (lambda m: at(m, "wind").ClearField("shape"), INVALID, "the shape []"),
    "a negative shape": (lambda m: at(m, "wind").shape.__setitem__(0, -1), INVALID, "the shape [-1]"),
    "a shape beyond memory": (lambda m: at(m, "wind").shape.extend([2**62, 2**62]), INVALID, "wind: found 1 elements"),
    "a rank beyond all": (lambda m: at(m, "wind").shape.extend([1] * 2000), INVALID, "the shape [1, 1"),
    "a rank of three": (lambda m: at(m, "wind").shape.extend([1, 1]), INVALID, "wind: found the shape [1, 1, 1]"),
    "two columns in one": (lambda m: contents(m, "wind", "fp64_contents", [1, 2], [1, 2]), INVALID, "[1, 2]"),
    "differing numbers of rows": (lambda m: contents(m, "wind", "fp64_contents", [1, 2], [2]), INVALID, "2 rows"),
    "a NaN": (lambda m: contents(m, "distance", "fp64_contents", [float("nan")]), INVALID, "distance: found NaN"),
    "an infinity": (
        lambda m: contents(m, "wind", "fp64_contents", [float("-inf")]),
        INVALID,
        "wind: found a number out of range",
    ),
    "an integer out of range": (
        lambda m: retyped(m, "stops", "INT64", "int64_contents", [2**40]),
        INVALID,
        "stops: found 1099511627776",
    ),
    "an element beyond its datatype": (
        lambda m: retyped(m, "stops", "INT8", "int_contents", [300]),
        INVALID,
        "stops: found 300, wanted an element of INT8",
    ),
    "a fraction for a whole number": (
        lambda m: retyped(m, "stops", "FP64", "fp64_contents", [1.5]),
        INVALID,
        "stops: found 1.5, wanted a whole number",
    ),
    "a number for true or false": (
        lambda m: retyped(m, "is_new", "INT32", "int_contents", [2]),
        INVALID,
        "is_new: found 2, wanted true or false",
    ),
    "no date": (lambda m: contents(m, "day", "bytes_contents", [b"2026-02-30"]), INVALID, 'day: found "2026-02-30"'),
    "a time with an offset": (
        lambda m: contents(m, "asked_at", "bytes_contents", [b"2026-01-31T09:30:00Z"]),
        INVALID,
        "without an offset",
    ),
    "text that is not UTF-8": (
        lambda m: contents(m, "city", "bytes_contents", [b"\xff\xfe"]),
        INVALID,
        "rows[0].city: found bytes that are not UTF-8",
    ),
    "shared memory": (
        lambda m: at(m, "wind").parameters["shared_memory_region"].__setattr__("string_param", "/etc/passwd"),
        INVALID,
        "wind: found a region of shared memory",
    ),
    "more rows than are answered": (lambda m: many(m, 501), TOO_MUCH, "501 rows; at most 500"),
    "more raw contents than inputs": (lambda m: m.raw_input_contents.append(b""), INVALID, "raw_input_contents"),
}
RAW: dict[str, tuple[Any, Any, str]] = {
    "both kinds of contents": (
        lambda m: at(m, "wind").contents.fp64_contents.append(1.0),
        INVALID,
        "wind: found both `contents` and `raw_input_contents`",
    ),
    "too few raw contents": (lambda m: m.raw_input_contents.pop(), INVALID, "7 elements for 8 inputs"),
    "too many raw contents": (lambda m: m.raw_input_contents.append(b"1"), INVALID, "9 elements for 8 inputs"),
    "too few bytes": (lambda m: raw(m, "wind", b"\0" * 7), INVALID, "wind: found 7 bytes, wanted 8"),
    "too many bytes": (lambda m: raw(m, "wind", b"\0" * 16), INVALID, "wind: found 16 bytes, wanted 8"),
    "no bytes": (lambda m: raw(m, "wind", b""), INVALID, "wind: found 0 bytes, wanted 8"),
    "a byte that is no truth": (lambda m: raw(m, "is_new", b"\2"), INVALID, "is_new: found a byte of 2"),
    "a length that lies": (lambda m: raw(m, "city", b"\xff\xff\xff\xffOslo"), INVALID, "city: found 8 bytes"),
    "a length that ends early": (lambda m: raw(m, "city", b"\1\0\0"), INVALID, "city: found 3 bytes"),
    "text behind the text": (lambda m: raw(m, "city", b"\1\0\0\0ab"), INVALID, "city: found 6 bytes"),
    "raw text that is not UTF-8": (lambda m: raw(m, "city", b"\1\0\0\0\xff"), INVALID, "not UTF-8"),
    "a raw NaN": (lambda m: raw(m, "distance", struct.pack("<d", float("nan"))), INVALID, "distance: found NaN"),
    "a million rows": (
        million_rows,
        INVALID,
        "100,000 bytes, wanted 8,000,000",
    ),
}


@pytest.mark.parametrize("case", TYPED)
def test_a_request_that_does_not_fit_is_refused(
    running: GrpcServed, protos: Protos, others: list[Any], case: str
) -> None:
    change, code, told = TYPED[case]
    message = request(protos)
    change(message)

    error = refused(running.call, INFER, message.SerializeToString())

    assert (error.code(), others) == (code, [])
    assert told in (error.details() or "")


@pytest.mark.parametrize("case", RAW)
def test_raw_contents_that_do_not_fit_are_refused(
    running: GrpcServed, protos: Protos, others: list[Any], case: str
) -> None:
    change, code, told = RAW[case]
    message = request(protos, raw=True)
    change(message)

    error = refused(running.call, INFER, message.SerializeToString())

    assert (error.code(), others) == (code, [])
    assert told in (error.details() or "")


def test_the_requests_that_were_changed_are_right(running: GrpcServed, protos: Protos) -> None:
    response = protos.message("inference.ModelInferResponse")

    found = [
        response.FromString(running.call(INFER, request(protos, raw=is_raw).SerializeToString()))
        for is_raw in (True, False)
    ]

    (prediction,) = found[1].outputs[0].contents.fp64_contents
    assert found[0].raw_output_contents[0] == struct.pack("<d", prediction)


def test_no_rows_are_answered_with_none(running: GrpcServed, protos: Protos) -> None:
    message = request(protos)
    many(message, 0)

    found = protos.message("inference.ModelInferResponse").FromString(running.call(INFER, message.SerializeToString()))

    assert [list(each.shape) for each in found.outputs] == [[0], [0], [0]]
    typed = running.typed()
    assert not typed.call("PredictBatch", typed.message("Rows"), "Predictions").predictions


METHODS = [
    INFER,
    "/inference.GRPCInferenceService/ModelMetadata",
    f"/{PREDICTOR}/Predict",
    f"/{PREDICTOR}/PredictBatch",
    f"/{PREDICTOR}/Feedback",
    "/grpc.health.v1.Health/Check",
]


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"<html>"], ids=repr)
def test_bytes_that_are_no_message_are_refused(running: GrpcServed, others: list[Any], path: str, data: bytes) -> None:
    error = refused(running.call, path, data)

    assert (error.code(), others) == (INVALID, [])


@pytest.mark.parametrize(
    "path", ["/inference.GRPCInferenceService/Nothing", "/other.Service/Predict", "/", f"/{PREDICTOR}/../Predict"]
)
def test_a_method_that_is_not_there_is_told_as_such(running: GrpcServed, others: list[Any], path: str) -> None:
    assert refused(running.call, path, b"").code() is grpc.StatusCode.UNIMPLEMENTED
    assert others == []


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["plain", "compressed"])
def test_a_huge_message_is_refused_before_it_is_held(running: GrpcServed, others: list[Any], compression: Any) -> None:
    # Compressed it is small on the way, and would be as large as this in memory.
    error = refused(running.call, INFER, b"\0" * 50_000_000, compression=compression)

    assert (error.code(), others) == (TOO_MUCH, [])


TYPED_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "a required field is unset": ({"distance": ...}, "rows[0].distance: found null, wanted a number"),
    "no date": ({"day": "2026-02-30"}, 'rows[0].day: found "2026-02-30"'),
    "no time": ({"asked_at": "noon"}, "a time such as 2026-01-31T09:30:00"),
    "an empty text for a time": ({"asked_at": ""}, "rows[0].asked_at"),
    "NaN in a field that may be unset": ({"wind": float("nan")}, "rows[0].wind: found NaN"),
}


@pytest.mark.parametrize("case", TYPED_ROWS)
def test_a_typed_row_that_does_not_fit_is_refused(running: GrpcServed, others: list[Any], case: str) -> None:
    changed, told = TYPED_ROWS[case]

    error = refused(running.typed().predict, **changed)

    assert (error.code(), others) == (INVALID, [])
    assert told in (error.details() or "")


def test_a_stream_of_bytes_that_are_no_message_is_answered_with_refusals(
    running: GrpcServed, others: list[Any]
) -> None:
    answer = running.typed().protos.message("drivetrain.answers.Answer")
    call = running.channel.stream_stream(f"/{PREDICTOR}/PredictStream")

    found = [answer.FromString(each) for each in call(iter([b"\xff", b""]), timeout=20)]

    assert [each.refusal.code for each in found] == [INVALID.value[0]] * 2
    assert others == []

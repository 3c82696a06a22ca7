"""The service typed by the signature, over messages that are made from the text that the server gives."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
from tests.serving.grpc.calls import PREDICTOR, GrpcServed, TypedClient, over_grpc, refused
from tests.serving.world import ROW, logged, promote, register, signature, wait_until

from drivetrain.data.schema import Column, Roles
from drivetrain.serving.contract import contract, fields_of
from drivetrain.serving.encoding import QUICK_BYTES
from drivetrain.serving.log import read_feedback
from drivetrain.serving.requests import reader_for

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.store.store import Store


@pytest.fixture(scope="module")
def typed(running: GrpcServed) -> TypedClient:
    return running.typed()


def test_a_row_is_answered_as_over_http(running: GrpcServed, typed: TypedClient) -> None:
    answer = typed.predict()

    same = running.server.predict(ROW).json()
    assert answer.prediction == pytest.approx(same["prediction"])
    assert (answer.version, answer.id[:5]) == ("late@1", "pred-")
    asked = logged(running.server.store).filter(id=answer.id)
    assert asked["request"][0] == logged(running.server.store).filter(id=same["id"])["request"][0]


def test_an_unset_field_is_null(running: GrpcServed, typed: TypedClient) -> None:
    answer = typed.predict(wind=..., ticket=...)

    same = running.server.predict({name: value for name, value in ROW.items() if name not in ("wind", "ticket")})
    assert answer.prediction == pytest.approx(same.json()["prediction"])


def test_a_trace_in_the_metadata_of_a_typed_call_stands_in_the_log(running: GrpcServed, typed: TypedClient) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    metadata = [("traceparent", f"00-{trace}-00f067aa0ba902b7-01")]

    one = typed.call("Predict", typed.row(), "Prediction", metadata=metadata)
    many = typed.call("PredictBatch", typed.message("Rows", rows=[typed.row()] * 2), "Predictions", metadata=metadata)
    plain = typed.predict()

    log = logged(running.server.store)
    found = dict(zip(log["id"], log["trace"], strict=True))
    assert [found[each.id] for each in (one, *many.predictions, plain)] == [trace] * 3 + [None]


def test_what_does_not_fit_is_told_by_row_and_field(typed: TypedClient) -> None:
    rpc_status = pytest.importorskip("grpc_status.rpc_status", reason="grpcio-status is not installed")
    from google.rpc import error_details_pb2

    rows = typed.message("Rows", rows=[typed.row(), typed.row(distance=..., day="soon"), typed.row(stops=2)])

    error = refused(typed.call, "PredictBatch", rows, "Predictions")

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "rows[1].distance: found null, wanted a number" in (error.details() or "")
    status = rpc_status.from_call(error)
    found = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(found)
    assert [(each.field, each.description) for each in found.field_violations] == [
        ("rows[1].distance", "found null, wanted a number"),
        ("rows[1].day", 'found "soon", wanted a date such as 2026-01-31'),
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_refused(typed: TypedClient, value: float) -> None:
    error = refused(typed.predict, distance=value)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "rows[0].distance" in (error.details() or "")


def test_many_rows_are_answered_in_their_order(typed: TypedClient) -> None:
    rows = typed.message("Rows", rows=[typed.row(distance=float(each)) for each in range(1, 251, 10)])

    found = typed.call("PredictBatch", rows, "Predictions").predictions

    assert len({each.id for each in found}) == 25
    assert found[0].prediction < 0.5 < found[-1].prediction


def test_rows_that_take_a_while_to_read_are_answered(typed: TypedClient) -> None:
    rows = typed.message("Rows", rows=[typed.row(city="a long name " * 25)] * 400)

    found = typed.call("PredictBatch", rows, "Predictions").predictions

    assert rows.ByteSize() > QUICK_BYTES
    assert len({each.id for each in found}) == 400
    rows.rows[399].ClearField("city")
    assert "rows[399].city" in (refused(typed.call, "PredictBatch", rows, "Predictions").details() or "")


def test_a_stream_keeps_the_order_and_goes_on_behind_what_is_refused(typed: TypedClient) -> None:
    rows = [typed.row(distance=float(each)) for each in range(1, 251)]
    rows[3] = typed.row(city=...)

    found = typed.stream(rows)

    assert [each.WhichOneof("answer") for each in found[:5]] == ["prediction"] * 3 + ["refusal", "prediction"]
    assert found[3].refusal.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert found[3].refusal.problems[0].field == "city"
    assert found[0].prediction.prediction < 0.5 < found[-1].prediction.prediction


def test_feedback_is_kept_by_id_and_by_key(running: GrpcServed, typed: TypedClient) -> None:
    answer = typed.predict()
    labels = typed.message("Labels", labels=[{"id": answer.id, "label": 1}, {"key": "t-9", "label": 0}])

    accepted = typed.call("Feedback", labels, "Accepted")

    assert accepted.accepted == 2
    kept = read_feedback(running.server.store, "answers")
    assert {answer.id, "t-9"} <= {*kept["id"].to_list(), *kept["key"].to_list()}


@pytest.mark.parametrize(
    "label",
    [{"label": 1}, {"id": "pred-1", "label": 1}, {"key": "t-1"}, {"key": "t-1", "label": 7}, {"id": "a", "key": "b"}],
)
def test_feedback_that_does_not_fit_is_refused(typed: TypedClient, label: dict[str, Any]) -> None:
    error = refused(typed.call, "Feedback", typed.message("Labels", labels=[label]), "Accepted")

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_text_is_what_protoc_takes_and_its_stubs_are_answered(running: GrpcServed, tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    (tmp_path / "service.proto").write_text(running.server.client.get("/service.proto").text)
    command = ["-m", "grpc_tools.protoc", "-I.", "--python_out=.", "--grpc_python_out=.", "service.proto"]
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    program = f"""
import grpc, service_pb2, service_pb2_grpc
stub = service_pb2_grpc.PredictorStub(grpc.insecure_channel("{running.address}"))
print(stub.Predict(service_pb2.Row(**{ROW})).version)
"""

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout == "late@1\n"


def test_reflection_tells_a_tool_all_it_needs(running: GrpcServed) -> None:
    database = pytest.importorskip(
        "grpc_reflection.v1alpha.proto_reflection_descriptor_database", reason="grpcio-reflection is not installed"
    )
    from google.protobuf import descriptor_pool, message_factory

    found = database.ProtoReflectionDescriptorDatabase(running.channel)
    pool = descriptor_pool.DescriptorPool(found)
    method = pool.FindServiceByName(PREDICTOR).FindMethodByName("Predict")
    row = message_factory.GetMessageClass(method.input_type)(**ROW)
    answer = message_factory.GetMessageClass(method.output_type)

    told = answer.FromString(running.call(f"/{PREDICTOR}/Predict", row.SerializeToString()))

    assert told.version == "late@1"
    assert {PREDICTOR, "inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(found.get_services())
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("drivetrain.answers.Nothing")


def test_a_swap_to_another_signature_changes_the_messages(store: Store) -> None:
    promote(store, register(store, 1))
    with over_grpc(store) as running:
        old = running.typed()
        fewer = signature([name for name in ROW if name != "day"])

        promote(store, register(store, 2, signature=fewer))
        wait_until(lambda: running.server.predict(_without_day()).status_code == 200)
        new = running.typed()

        assert new.predict(day=...).version == "late@2"
        # A client made for the signature before is refused by what it sends too much, and answered without it.
        assert "an unknown field" in (refused(old.predict).details() or "")
        assert old.predict(day=...).version == "late@2"


def _without_day() -> dict[str, Any]:
    return {name: value for name, value in ROW.items() if name != "day"}


def test_columns_whose_names_are_no_identifiers_are_mapped(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    names = ["mean radius", "mean_radius", "meanRadius", "2nd", "größe", "class", "a/b", "MEAN_RADIUS", ""]
    columns = [Column(name=name, kind="float", dtype="Float64", nullable=True) for name in names]
    fields = fields_of(columns)

    assert [field.name for field in fields][:1] + [field.name for field in fields][3:7] == [
        "mean_radius",
        "f_2nd",
        "gr__e",
        "class",
        "a_b",
    ]
    assert len({field.name for field in fields}) == len({field.number for field in fields}) == len(names)
    assert {field.column: field.number for field in fields} == {
        field.column: field.number for each in columns for field in fields_of([each])
    }

    odd = signature()
    odd = type(odd)(task="regression", label="l", request=columns, features=odd.features, roles=Roles(label="l"))
    text = _contract_of(odd)
    (tmp_path / "service.proto").write_text(text)
    command = ["-m", "grpc_tools.protoc", "-I.", "--python_out=.", "service.proto"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def _contract_of(signature: Any) -> str:
    return contract("odd-name", signature, reader_for(signature))


@pytest.mark.parametrize(
    ("classes", "kind"),
    [(["a", "b", "c"], "string"), ([1, 2, 3], "int64"), ([True, False, 2], "string"), ([0.5, 1.5, 2.5], "double")],
)
def test_classes_have_their_type(classes: list[Any], kind: str) -> None:
    plain = signature()
    several = type(plain)(
        task="multiclass", label="l", classes=classes, request=plain.request, features=plain.features, roles=plain.roles
    )

    text = _contract_of(several)

    assert f"  {kind} prediction =" in text
    assert f"  optional {kind} label =" in text
    assert "map<string, double> probabilities = 4;" in text

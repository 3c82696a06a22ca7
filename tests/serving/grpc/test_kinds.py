"""Models whose requests and answers are more than numbers: over gRPC they are JSON text in typed fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
import httpx
from tests.serving.grpc.calls import refused
from tests.serving.project import Project
from tests.serving.world import free_port

from drivetrain.serving.grpc.proto import Protos

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = """
import msgspec
import drivetrain as dt

class Word(msgspec.Struct):
    text: str
    length: int

@dt.predictor
class Words:
    def predict(self, text: list[str], most: list[dict[str, int]]) -> list[list[Word]]:
        return [[Word(each, len(each)) for each in one.split()[: some["words"]]] for one, some in zip(text, most)]

gate = dt.Gate(Words)
service = dt.Service(Words)
"""


def test_structures_are_json_text_in_both_directions(tmp_path: Path) -> None:
    project = Project(tmp_path, SYSTEM)
    project.run()
    port = free_port()
    with project.served(DRIVETRAIN_SERVE_GRPC_PORT=str(port)) as address:
        protos = Protos({"service.proto": httpx.get(f"{address.url}/service.proto").text})
        row, prediction = (protos.message(f"drivetrain.service.{name}") for name in ("Row", "Prediction"))
        label, accepted = (protos.message(f"drivetrain.service.{name}") for name in ("Labels", "Accepted"))
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")

        def call(method: str, message: Any) -> bytes:
            answer: Any = channel.unary_unary(f"/drivetrain.service.Predictor/{method}")
            told: bytes = answer(message.SerializeToString(), timeout=20)
            return told

        answer = prediction.FromString(call("Predict", row(text="the end", most='{"words": 1}')))
        wrong = [refused(call, "Predict", row(text="the end", most=most)) for most in ('{"words": "all"}', "{", "[1]")]
        kept = accepted.FromString(call("Feedback", label(labels=[{"id": answer.id, "label": '"good"'}])))
        told = project.command("client", "--url", address.url)
        channel.close()

    assert answer.prediction == '[{"text":"the","length":3}]'
    assert {each.code() for each in wrong} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert "most" in (wrong[0].details() or "")
    assert kept.accepted == 1
    assert told.returncode == 0
    assert "    most: Any\n" in (tmp_path / "client.py").read_text()

"""The protocols that name a model: their own clients find each service on one address."""

from __future__ import annotations

import gzip
import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.serving.engines import started
from tests.serving.front.conftest import FLIGHT, HOUSE, Many, serving
from tests.serving.project import Address, Project

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = ["lateness", "worth", "story", "advice"]


def inputs(triton: Any, row: dict[str, float]) -> list[Any]:
    """Return a row as Triton's clients write it."""
    made = []
    for name, value in row.items():
        made.append(triton.InferInput(name, [1], "FP64"))
        made[-1].set_data_from_numpy(np.array([value]))
    return made


def test_triton_finds_all_models_at_the_root(many: Many) -> None:
    triton = pytest.importorskip("tritonclient.http", reason='needs "tritonclient[http]"')
    with triton.InferenceServerClient(many.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert [client.is_model_ready(name) for name in (*MODELS, "prices", "other")] == [1, 1, 1, 1, 1, 0]
        assert client.get_server_metadata()["name"] == "drivetrain"
        assert [each["name"] for each in client.get_model_repository_index()] == MODELS
        assert [each["name"] for each in client.get_inference_statistics()["model_stats"]] == MODELS
        assert [each["name"] for each in client.get_model_metadata("worth")["inputs"]] == ["rooms", "age"]
        before = client.get_inference_statistics("worth")["model_stats"][0]["inference_count"]

        price = client.infer("worth", inputs(triton, HOUSE), outputs=[triton.InferRequestedOutput("prediction")])
        late = client.infer("lateness", inputs(triton, FLIGHT), model_version="1")

        assert price.as_numpy("prediction")[0] == pytest.approx(110)
        assert late.as_numpy("version").tolist() == [b"lateness@1"]
        assert client.get_inference_statistics("worth")["model_stats"][0]["inference_count"] == before + 1
        with pytest.raises(triton.InferenceServerException, match="worth of prices"):
            client.infer("price", inputs(triton, HOUSE))
        with pytest.raises(triton.InferenceServerException, match="drivetrain promote worth@NUMBER"):
            client.load_model("worth")


def test_triton_finds_one_model_below_its_service(many: Many) -> None:
    triton = pytest.importorskip("tritonclient.http", reason='needs "tritonclient[http]"')
    with triton.InferenceServerClient(f"{many.url.removeprefix('http://')}/prices") as client:
        assert [each["name"] for each in client.get_model_repository_index()] == ["worth"]
        assert client.infer("worth", inputs(triton, HOUSE)).as_numpy("prediction")[0] == pytest.approx(110)


def _counts(many: Many) -> dict[str, float]:
    """Return how many requests each service has answered."""
    found: dict[str, float] = {}
    for line in many.client.get("/metrics").text.splitlines():
        if line.startswith("drivetrain_requests_total"):
            name = line.partition('service="')[2].partition('"')[0]
            found[name] = found.get(name, 0.0) + float(line.split()[-1])
    return found


@contextmanager
def counted(many: Many) -> Iterator[dict[str, float]]:
    """Give how many requests each service has answered within the block, once that has ended."""
    within: dict[str, float] = {}
    before = _counts(many)
    yield within
    within |= {name: count - before[name] for name, count in _counts(many).items()}


def test_triton_over_grpc_finds_all_models_and_each_counts_its_own(many: Many) -> None:
    triton = pytest.importorskip("tritonclient.grpc", reason='needs "tritonclient[grpc]"')
    with triton.InferenceServerClient(many.grpc) as client:
        assert client.is_server_ready()
        assert [client.is_model_ready(name) for name in (*MODELS, "prices")] == [1] * 5
        assert [each.name for each in client.get_model_repository_index().models] == MODELS
        assert [each.name for each in client.get_inference_statistics().model_stats] == MODELS
        assert [each.name for each in client.get_inference_statistics("worth").model_stats] == ["worth"]
        assert [each.name for each in client.get_model_metadata("lateness").inputs] == ["miles", "wind"]

        with counted(many) as counts:
            price = client.infer("worth", inputs(triton, HOUSE), request_id="seven")
            late = client.infer("lateness", inputs(triton, FLIGHT))
            with pytest.raises(triton.InferenceServerException, match="'price' here; there are lateness of arriv"):
                client.infer("price", inputs(triton, HOUSE))
            with pytest.raises(triton.InferenceServerException, match="rooms"):
                client.infer("worth", inputs(triton, FLIGHT))

    assert price.as_numpy("prediction")[0] == pytest.approx(110)
    assert price.get_response().id == "seven"
    assert late.as_numpy("version").tolist() == [b"lateness@1"]
    assert counts == {"arrivals": 1.0, "prices": 2.0, "telling": 0.0, "advising": 0.0}


def test_a_stream_of_triton_may_ask_several_models_and_goes_on_after_a_refusal(many: Many) -> None:
    triton = pytest.importorskip("tritonclient.grpc", reason='needs "tritonclient[grpc]"')
    told: list[tuple[Any, Any]] = []
    with counted(many) as counts, triton.InferenceServerClient(many.grpc) as client:
        client.start_stream(lambda result, error: told.append((result, error)))
        for model, row in (("worth", HOUSE), ("price", HOUSE), ("lateness", FLIGHT), ("worth", HOUSE)):
            client.async_stream_infer(model, inputs(triton, row), request_id=model)
        client.stop_stream()

    assert [error is None for _, error in told] == [True, False, True, True]
    assert "no model 'price' here" in str(told[1][1])
    assert [result.get_response().id for result, error in told if error is None] == ["worth", "lateness", "worth"]
    assert counts == {"arrivals": 1.0, "prices": 1.0, "telling": 0.0, "advising": 0.0}


def test_typed_services_health_and_reflection_stand_on_one_port(many: Many) -> None:
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    health = pytest.importorskip("grpc_health.v1.health_pb2")
    reflection = pytest.importorskip("grpc_reflection.v1alpha.proto_reflection_descriptor_database")

    from drivetrain.serving.grpc.proto import Protos

    with grpc.insecure_channel(many.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:

        def call(path: str, message: Any) -> bytes:
            given: bytes = channel.unary_unary(path)(message.SerializeToString(), timeout=20)
            return given

        prices, arrivals = (
            Protos({"one.proto": many.client.get(f"/{name}/service.proto").text}) for name in ("prices", "arrivals")
        )
        answer = call("/drivetrain.prices.Predictor/Predict", prices.message("drivetrain.prices.Row")(**HOUSE))
        found = prices.message("drivetrain.prices.Prediction").FromString(answer)
        assert found.prediction == pytest.approx(110)
        rows = arrivals.message("drivetrain.arrivals.Rows")(rows=[FLIGHT] * 3)
        answer = call("/drivetrain.arrivals.Predictor/PredictBatch", rows)
        assert len(arrivals.message("drivetrain.arrivals.Predictions").FromString(answer).predictions) == 3

        large = arrivals.message("drivetrain.arrivals.Rows")(rows=[FLIGHT] * 200)
        with pytest.raises(grpc.RpcError) as refused:
            call("/drivetrain.arrivals.Predictor/PredictBatch", large)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "at most 2,000 bytes" in refused.value.details()

        names = [f"drivetrain.{name}.Predictor" for name in ("arrivals", "prices", "telling", "advising")]
        for name in ("", *names, "inference.GRPCInferenceService"):
            told = call("/grpc.health.v1.Health/Check", health.HealthCheckRequest(service=name))
            assert health.HealthCheckResponse.FromString(told).status == 1
        assert set(names) < set(reflection.ProtoReflectionDescriptorDatabase(channel).get_services())


def test_a_token_is_asked_for_over_grpc_too(project: Project) -> None:
    triton = pytest.importorskip("tritonclient.grpc", reason='needs "tritonclient[grpc]"')
    with (
        serving(project, "prices", "telling", DRIVETRAIN_SERVE_TOKEN="t0p") as guarded,
        triton.InferenceServerClient(guarded.grpc) as client,
    ):
        assert client.is_server_ready()
        with pytest.raises(triton.InferenceServerException, match="token"):
            client.infer("worth", inputs(triton, HOUSE))
        told = client.infer("worth", inputs(triton, HOUSE), headers={"authorization": "Bearer t0p"})

    assert told.as_numpy("prediction")[0] == pytest.approx(110)


ENGINES = """
import drivetrain as dt


@dt.predictor
class Plain:
    def predict(self, text: str) -> str:
        return text


small, large = dt.Remote("%s"), dt.Remote("%s")
echoing = dt.Service(Plain)
fast = dt.Service(small, max_body_bytes=2_000)
deep = dt.Service(large)
gates = [dt.Gate(each, name=f"gate_{number}") for number, each in enumerate((Plain, small, large))]
"""


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Return a server of three services, two of which stand before engines that speak OpenAI's protocol."""
    with (
        started(sys.executable, "odd_engine.py", ready="/v1/models") as one,
        started(sys.executable, "odd_engine.py", ready="/v1/models") as other,
    ):
        project = Project(tmp_path_factory.mktemp("engines"), ENGINES % (one, other))
        project.run()
        with project.served("--all") as address:
            yield address


def test_the_client_of_openai_finds_each_model_by_its_name(engines: Address) -> None:
    openai = pytest.importorskip("openai", reason="needs the client openai")
    client = openai.OpenAI(base_url=f"{engines.url}/v1", api_key="none", max_retries=0)

    def chat(model: str) -> Any:
        messages: Any = [{"role": "user", "content": f"for {model}"}]
        return client.chat.completions.with_raw_response.create(model=model, messages=messages)

    told = {}
    for name in ("small", "large", "deep", "small@1"):
        raw = chat(name)
        told[name] = (raw.headers["x-drivetrain-version"], raw.parse().choices[0].message.content)

    assert told == {
        "small": ("small@1", "for small"),
        "large": ("large@1", "for large"),
        "deep": ("large@1", "for deep"),
        "small@1": ("small@1", "for small@1"),
    }
    assert [each.id for each in client.models.list()] == ["small", "large"]
    assert engines.client.get("/v1/models").json()["models"] == ["plain", "small", "large"]
    with pytest.raises(openai.NotFoundError, match="there are plain of echoing, small of fast, large of deep"):
        chat("other")
    with pytest.raises(openai.NotFoundError, match="does not speak OpenAI's protocol"):
        chat("plain")


def test_a_chat_is_streamed_compressed_and_limited_as_its_service_says(engines: Address) -> None:
    def chat(model: Any, content: str, **options: Any) -> dict[str, Any]:
        return {"model": model, "messages": [{"role": "user", "content": content}], **options}

    path = "/v1/chat/completions"
    streamed = engines.client.post(path, json=chat("large", "breaks", stream=True))
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.text.count('"content"') == 3
    packed = gzip.compress(json.dumps(chat("small", "packed")).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    told = engines.client.post(path, content=packed, headers=headers).json()
    assert told["choices"][0]["message"]["content"] == "packed"

    assert engines.client.post(path, json=chat("small", "x" * 3_000)).status_code == 413
    assert engines.client.post(path, json=chat("large", "x" * 3_000)).status_code == 200
    wrong = [
        engines.client.post(path, content=content, headers={"content-type": "application/json"})
        for content in (b"{no", b"[]", b'{"messages": []}', b'{"model": 3}')
    ]
    assert [each.status_code for each in wrong] == [400] * 4
    assert {each.json()["error"]["type"] for each in wrong} == {"invalid_request_error"}
    assert engines.client.post(path, content=b"{}", headers={"content-type": "text/plain"}).status_code == 400
    assert engines.client.get(path).status_code == 404

"""Engines elsewhere behind a service: real ones, and one that goes wrong in every way."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.serving.engines import environment, started
from tests.serving.project import Address, Project
from tests.serving.world import wait_until

openai = pytest.importorskip("openai", reason="needs the client openai")

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = """
import drivetrain as dt

assistant = dt.Remote("%s"%s)


@dt.evaluation
def quality(assistant: object) -> dict[str, float]:
    return {"words": float(len(assistant.complete("hi", max_tokens=4))) + 1}


gate = dt.Gate(assistant, require=[quality.words >= 1])
service = dt.Service(assistant, timeout_s=%s, max_stream_s=20, max_concurrent=8)
"""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Address]]:
    """Return a service in front of llama.cpp."""
    python = environment("xllamacpp", "xllamacpp", "gguf", "numpy")
    folder = tmp_path_factory.mktemp("llama")
    with started(python, "llama_engine.py", str(folder), ready="/v1/models") as engine:
        project = Project(tmp_path_factory.mktemp("project"), SYSTEM % (engine, "", 10))
        project.run()
        with project.served() as address:
            yield project, address


def client_of(address: Address, **options: Any) -> Any:
    """Return OpenAI's own client of a service."""
    return openai.OpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0, **options)


MESSAGES = [{"role": "user", "content": "hi"}]


def test_the_client_of_openai_chats_completes_and_lists(llama: tuple[Project, Address]) -> None:
    project, address = llama
    client = client_of(address)

    chat = client.chat.completions.with_raw_response.create(model="assistant", messages=MESSAGES, max_tokens=5)
    completed = client.completions.create(model="assistant@1", prompt="a b", max_tokens=3)

    assert [each.id for each in client.models.list()] == ["assistant"]
    assert "/v1/chat/completions" in address.client.get("/openapi.json").json()["paths"]
    assert chat.parse().usage.completion_tokens == 5
    assert completed.usage.completion_tokens == 3
    assert chat.headers["x-drivetrain-version"] == "assistant@1"
    row = project.logged("service").filter(id=chat.headers["x-drivetrain-id"]).row(0, named=True)
    assert json.loads(row["prediction"])["usage"]["completion_tokens"] == 5
    assert json.loads(row["request"]["request"])["messages"] == MESSAGES
    assert project.command("why", chat.headers["x-drivetrain-id"]).returncode == 0


def test_a_chat_is_streamed_with_its_usage(llama: tuple[Project, Address]) -> None:
    project, address = llama
    client = client_of(address)
    asked = {"model": "assistant", "messages": MESSAGES, "max_tokens": 6, "stream": True}

    plain = list(client.chat.completions.create(**asked))
    with_usage = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))

    assert all(part.choices for part in plain)  # nobody asked for the part that has only the usage
    assert plain[-1].choices[0].finish_reason == "length"
    assert with_usage[-1].usage.completion_tokens == 6
    row = project.logged("service").row(-1, named=True)
    assert json.loads(row["prediction"])["usage"]["completion_tokens"] == 6
    assert row["stream"]["how"] == "end"
    assert row["stream"]["first_s"] > 0
    metrics = address.client.get("/metrics").text
    assert float(next(line for line in metrics.splitlines() if 'direction="out"' in line).split()[-1]) >= 12
    assert "drivetrain_first_piece_seconds_count" in metrics


def test_a_request_in_several_lines_is_one_line_of_the_log(llama: tuple[Project, Address]) -> None:
    project, address = llama
    body = json.dumps({"model": "assistant", "messages": MESSAGES, "max_tokens": 2}, indent=1).replace("\n", "\r\n")

    told = address.client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})

    (row,) = project.logged("service").filter(id=told.headers["x-drivetrain-id"]).iter_rows(named=True)
    assert json.loads(row["request"]["request"])["messages"] == MESSAGES


def test_a_row_of_our_own_protocol_is_a_chat_too(llama: tuple[Project, Address]) -> None:
    told = llama[1].predict({"request": {"messages": MESSAGES, "max_tokens": 3}})

    assert told["version"] == "assistant@1"
    assert told["prediction"]["usage"]["completion_tokens"] == 3


def test_what_the_client_does_wrong_is_told_in_the_words_of_openai(llama: tuple[Project, Address]) -> None:
    client = client_of(llama[1])

    with pytest.raises(openai.NotFoundError, match="the model is 'assistant'"):
        client.chat.completions.create(model="other", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="assistant", messages="no list")
    told = llama[1].client.post("/v1/chat/completions", content=b"{no", headers={"content-type": "application/json"})
    assert told.status_code == 400
    assert told.json()["error"]["type"] == "invalid_request_error"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Address, str]]:
    """Return a service in front of an engine that goes wrong."""
    with started(sys.executable, "odd_engine.py", ready="/v1/models") as engine:
        project = Project(tmp_path_factory.mktemp("odd"), SYSTEM % (engine, ', token_env="ENGINE_TOKEN"', 1))
        assert "ENGINE_TOKEN, which is not set" in project.command("run").stderr
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ENGINE_TOKEN", "t0p")
            project.run()
        with project.served(ENGINE_TOKEN="t0p") as address:
            yield project, address, engine


def says(
    address: Address, content: str, *, waits_ms: int = 0, headers: dict[str, str] | None = None, **options: Any
) -> httpx.Response:
    body = {"model": "assistant", "messages": [{"role": "user", "content": content}], **options}
    headers = (headers or {}) | ({"x-request-timeout-ms": str(waits_ms)} if waits_ms else {})
    return address.client.post("/v1/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        ("400", 400, "the engine says 400"),
        ("429", 429, "the engine says 429"),
        ("401", 502, "does not take requests from this service"),
        ("500", 502, "the engine failed"),
        ("503", 502, "the engine failed"),
        ("slow", 504, "1 s"),
        ("no json", 502, "no JSON"),
    ],
)
def test_an_error_of_the_engine_is_one_of_ours(
    odd: tuple[Project, Address, str], content: str, status: int, words: str
) -> None:
    says(odd[1], "fine")  # so that the breaker starts anew

    told = says(odd[1], content)

    assert told.status_code == status, told.text
    assert words in told.json()["error"]["message"]
    assert "secret" not in told.text
    asked = httpx.get(f"{odd[2]}/asked").json()
    assert asked[content] == 1  # what may have been begun is not asked twice
    assert asked["authorization"] == "Bearer t0p"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "told"), [("7", {"7"}), ("date", {"39", "40"}), ("soon", {"1", None})])
def test_a_client_is_told_when_the_engine_wants_to_be_asked_again(
    odd: tuple[Project, Address, str], status: int, asked: str, told: set[str | None]
) -> None:
    _, address, _ = odd
    says(address, "fine")
    content = f"after {status} {asked}"

    seen = [
        says(address, content),
        says(address, content, stream=True),
        address.client.post("/predict", json={"request": {"messages": [{"role": "user", "content": content}]}}),
    ]

    known = status if status == 429 or asked != "soon" else 502
    assert [each.status_code for each in seen] == [known] * 3
    assert {each.headers.get("retry-after") for each in seen} <= told


def test_the_page_and_the_description_show_a_chat_that_can_be_sent(odd: tuple[Project, Address, str]) -> None:
    _, address, _ = odd
    says(address, "fine")
    described = address.client.get("/openapi.json").json()["paths"]
    shown = address.client.get("/docs").text.partition('id="forms">')[2].partition("</script>")[0]
    forms = {each["name"]: each for each in json.loads(shown)}

    told = {
        name: address.client.post(each["path"], content=each["body"], headers={"content-type": each["type"]})
        for name, each in forms.items()
        # A table of CSV holds no objects, and a job asks the engine later, beside other tests.
        if each["type"] != "text/csv" and each["path"] != "/jobs"
    }

    assert {name: each.status_code for name, each in told.items() if not each.is_success} == {}
    messages = [{"role": "user", "content": "Say hello."}]
    assert told["/v1/chat/completions · json · one message"].json()["choices"][0]["message"]["content"] == "Say hello."
    request = described["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]["one row"]
    assert request["value"] == {"request": {"model": "assistant", "messages": messages}}
    assert address.refused({"request": ["Say hello."]}, 422)["problems"][0]["field"] == "request"


def test_an_engine_without_room_is_not_one_that_fails(odd: tuple[Project, Address, str]) -> None:
    says(odd[1], "fine")

    seen = [says(odd[1], "after 503 0").json()["error"]["message"] for _ in range(7)]

    assert set(seen) == {"the engine has no room at the moment"}
    assert says(odd[1], "fine").status_code == 200


@pytest.mark.parametrize("streams", [False, True])
def test_the_engine_is_told_the_trace_with_a_new_parent(odd: tuple[Project, Address, str], streams: bool) -> None:
    project, address, engine = odd
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace}-{parent}-01", "tracestate": "vendor=1"}

    says(address, "breaks" if streams else "fine", stream=streams, headers=headers)

    asked = httpx.get(f"{engine}/asked").json()
    version, told, new, flags = asked["traceparent"].split("-")
    assert (version, told, flags, asked["tracestate"]) == ("00", trace, "01", "vendor=1")
    assert new != parent
    assert project.logged("service").row(-1, named=True)["trace"] == trace
    says(address, "fine")
    assert httpx.get(f"{engine}/asked").json()["traceparent"] == ""


def test_a_stream_that_breaks_off_says_so(odd: tuple[Project, Address, str]) -> None:
    project, address, _ = odd
    says(address, "fine")

    lines = says(address, "breaks", stream=True).text.split("\n\n")

    assert "2 " in lines[2]
    assert json.loads(lines[3].removeprefix("data: "))["error"]["message"] == "the engine broke the connection off"
    assert project.logged("service").row(-1, named=True)["stream"]["how"] == "error"
    assert says(address, "500", stream=True).status_code == 502


def test_a_client_that_goes_away_leaves_the_engine_too(odd: tuple[Project, Address, str]) -> None:
    project, address, engine = odd
    says(address, "fine")
    body = {"messages": [{"role": "user", "content": "endless"}], "stream": True}

    with address.client.stream("POST", "/v1/chat/completions", json=body) as told:
        assert next(told.iter_lines()).startswith("data: ")

    wait_until(lambda: httpx.get(f"{engine}/asked").json().get("left", 0) == 1, 5)
    wait_until(lambda: project.logged("service").row(-1, named=True)["stream"]["how"] == "closed", 5)


def test_a_stream_ends_when_its_client_waits_no_longer_and_so_does_the_engine(
    odd: tuple[Project, Address, str],
) -> None:
    project, address, engine = odd
    says(address, "fine")
    left = httpx.get(f"{engine}/asked").json().get("left", 0)
    began = time.monotonic()

    lines = says(address, "endless", waits_ms=400, stream=True).text.split("\n\n")

    assert 0.35 < time.monotonic() - began < 3
    assert "0 " in lines[0]
    told = json.loads(lines[-2].removeprefix("data: "))["error"]
    assert told["message"] == "the stream did not end in the time that the request has"
    assert project.logged("service").row(-1, named=True)["stream"]["how"] == "timeout"
    wait_until(lambda: httpx.get(f"{engine}/asked").json().get("left", 0) == left + 1, 5)


@pytest.mark.parametrize("streams", [False, True])
def test_clients_that_wait_for_a_moment_only_are_no_failure_of_the_engine(
    odd: tuple[Project, Address, str], streams: bool
) -> None:
    _, address, _ = odd
    says(address, "fine")

    for _ in range(6):  # more than the failures after which the engine would be left alone
        assert says(address, "slow", waits_ms=100, stream=streams).status_code == 504

    assert says(address, "fine").status_code == 200


def test_an_engine_that_fails_in_a_row_is_left_alone(odd: tuple[Project, Address, str]) -> None:
    _, address, engine = odd
    says(address, "fine")
    before = httpx.get(f"{engine}/asked").json().get("502", 0)

    codes = [says(address, "502").status_code for _ in range(9)]

    assert codes == [502] * 5 + [503] * 4
    assert httpx.get(f"{engine}/asked").json()["502"] == before + 5
    time.sleep(5.2)
    assert says(address, "fine").status_code == 200
    assert says(address, "fine").status_code == 200


def test_an_engine_that_is_gone_shows_in_readiness(tmp_path: Any) -> None:
    with started(sys.executable, "odd_engine.py", ready="/v1/models") as engine:
        project = Project(tmp_path, SYSTEM % (engine, "", 1))
        project.run()
        with project.served() as address:
            pass
    with project.served(ready=False) as address:
        wait_until(lambda: "does not answer" in address.client.get("/readyz").text, 10)
        assert address.client.get("/readyz").status_code == 503
        told = says(address, "fine")
    assert told.status_code == 503
    assert told.json()["error"]["message"] == "the engine cannot be reached; try again in a moment"
    done = project.command("run", "--force", "assistant")
    assert "does not answer" in done.stdout + done.stderr


DOUBLER = """
import drivetrain as dt

doubler = dt.Remote("%s", protocol="triton", model="doubler")
gate = dt.Gate(doubler)
service = dt.Service(doubler, timeout_s=1)
"""


@pytest.fixture(scope="module")
def doubler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Return a service in front of an engine that takes its time over a row as the row says."""
    with started(sys.executable, "slow_engine.py", ready="/v2/health/ready") as engine:
        project = Project(tmp_path_factory.mktemp("doubler"), DOUBLER % engine)
        project.run()
        with project.served() as address:
            yield address


def doubled(address: Address, x: float, *, waits_ms: int = 0) -> int:
    """Return how a row was answered, for a client that waits so long."""
    headers = {"x-request-timeout-ms": str(waits_ms)} if waits_ms else {}
    return address.client.post("/predict", json={"x": x}, headers=headers).status_code


def test_impatient_clients_do_not_keep_others_from_an_engine(doubler: Address) -> None:
    for _ in range(8):  # more than the failures after which the engine would be left alone
        assert doubled(doubler, 0.9, waits_ms=60) == 504
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: doubled(doubler, 0.9, waits_ms=60), range(16))) == {504}

    assert doubled(doubler, -1) == 200
    assert doubled(doubler, 0.3) == 200


def test_an_engine_that_lets_a_patient_client_wait_too_long_has_failed(doubler: Address) -> None:
    assert doubled(doubler, -1) == 200
    with ThreadPoolExecutor(5) as pool:
        late = list(pool.map(lambda _: doubled(doubler, 3), range(5)))

    assert late == [504] * 5
    assert doubled(doubler, -1) == 503
    time.sleep(5.2)
    assert doubled(doubler, -1) == 200


TRITON = """
import numpy as np
import drivetrain as dt

adder = dt.Remote("%s", protocol="triton", model="adder")


@dt.evaluation
def quality(adder: object) -> dict[str, float]:
    return {"top": float(adder.predict(a=np.ones((2, 3)), b=np.ones((2, 3)))["top"][0, 0])}


gate = dt.Gate(adder, require=[quality.top >= 2])
service = dt.Service(adder, timeout_s=10)
"""


@pytest.mark.slow
def test_a_real_triton_answers_behind_our_service(tmp_path: Any) -> None:
    python = environment("pytriton", "nvidia-pytriton", python="/usr/bin/python3")
    with started(python, "triton_engine.py", ready="/v2/models/adder/ready") as engine:
        project = Project(tmp_path, TRITON % engine)
        project.run()
        with project.served() as address:
            rows = [{"a": [1, 2, number], "b": [1, 1, 1]} for number in range(3)]
            told = address.predict(rows)["predictions"]
            short = address.refused({"a": [1, 2], "b": [1, 1, 1]}, 422)
            failed = address.refused({"a": [-1e9, 0, 0], "b": [0, 0, 0]}, 502)

    assert [each["prediction"] for each in told] == [
        {"sum": [2, 3, number + 1], "top": [max(3, number + 1)]} for number in range(3)
    ]
    assert short["problems"][0]["field"] == "a"
    assert "secret" not in str(failed)

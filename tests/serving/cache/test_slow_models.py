"""What a cache is for: models that are slow, and engines elsewhere, asked the same by many at once."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.serving.engines import started
from tests.serving.project import Address, Project
from tests.serving.world import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

# What these answer tells how often they were asked: whoever is told the same number shares an answer.
SYSTEM = """
import asyncio
from typing import Annotated

import numpy as np

import drivetrain as dt


@dt.predictor
class Later:
    def load(self) -> None:
        self.asked = 0

    async def predict(self, text: str, takes_s: float = 0.0) -> dict[str, int]:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(takes_s)
        if text == "fails":
            raise RuntimeError("as asked")
        return {text: number}


@dt.predictor
class Batched:
    def load(self) -> None:
        self.asked = 0

    def predict(
        self, words: list[dict[str, int]], x: list[Annotated[np.ndarray, dt.Tensor("float32", (None,))]]
    ) -> list[int]:
        self.asked += 1
        return [self.asked] * len(words)


gates = [dt.Gate(Later, name="gate_later"), dt.Gate(Batched, name="gate_batched")]
waiting = dt.Service(Later, timeout_s=10, max_concurrent=4, cache=dt.Cache(keep="1m"))
batching = dt.Service(Batched, cache=dt.Cache(keep="1m"))
"""
REMOTE = """
import drivetrain as dt

assistant = dt.Remote("%s")
gate = dt.Gate(assistant)
service = dt.Service(assistant, timeout_s=1, cache=dt.Cache(keep="1m"))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("slow"), SYSTEM)
    made.run()
    return made


@pytest.fixture(scope="module")
def waiting(project: Project) -> Iterator[Address]:
    with project.served("waiting") as address:
        yield address


def sent(address: Address, body: Any, *, times: int = 1, **options: Any) -> list[httpx.Response]:
    """Return the answers to a body that is sent so many times at once."""
    with ThreadPoolExecutor(times) as pool:
        asked = [pool.submit(address.client.post, "/predict", json=body, **options) for _ in range(times)]
        return [each.result() for each in asked]


def test_a_stampede_asks_an_awaited_model_once_and_takes_one_place(project: Project, waiting: Address) -> None:
    seen = sent(waiting, {"text": "stampede", "takes_s": 2.0}, times=16)

    assert [each.status_code for each in seen] == [200] * 16
    assert len({json.dumps(each.json()["prediction"]) for each in seen}) == 1
    assert len({each.json()["id"] for each in seen}) == 16
    told = [each.headers["cache-status"] for each in seen]
    assert told.count("drivetrain; fwd=miss") == 1
    assert told.count("drivetrain; fwd=miss; collapsed") > 4  # more than may ask at once
    found = project.logged("waiting")
    assert set(found["id"]) >= {each.json()["id"] for each in seen}


def test_a_failure_is_not_kept_and_each_is_told_of_its_own(waiting: Address) -> None:
    seen = sent(waiting, {"text": "fails", "takes_s": 0.2}, times=3)

    assert [each.status_code for each in seen] == [500] * 3
    assert len({each.json()["error_id"] for each in seen}) == 3
    assert not any("cache-status" in each.headers for each in seen)
    assert sent(waiting, {"text": "fails"})[0].status_code == 500


def test_when_the_one_who_asks_waits_no_longer_the_others_get_an_answer(waiting: Address) -> None:
    body = {"text": "left", "takes_s": 1.0}
    with ThreadPoolExecutor(5) as pool:
        hasty = pool.submit(sent, waiting, body, headers={"x-request-timeout-ms": "400"})
        wait_until(lambda: waiting.client.get("/readyz").status_code == 200)
        patient = [pool.submit(sent, waiting, body) for _ in range(4)]

        assert hasty.result()[0].status_code == 504
        assert {each.result()[0].status_code for each in patient} == {200}
        assert len({json.dumps(each.result()[0].json()["prediction"]) for each in patient}) == 1


def test_the_order_of_names_and_what_may_be_left_out_make_no_difference(project: Project) -> None:
    with project.served("batching") as address:
        first = address.predict({"words": {"a": 1, "b": 2}, "x": [1, 2]})
        second = address.predict({"x": [1.0, 2.0], "words": {"b": 2, "a": 1}})
        others = [
            address.predict({"words": {"a": 1, "b": 2}, "x": [1, 2.5]}),
            address.predict({"words": {"a": 1, "b": 3}, "x": [1, 2]}),
        ]
        page = address.client.get("/docs").text

    assert second["prediction"] == first["prediction"] == 1
    assert [each["prediction"] for each in others] == [2, 3]
    assert "<b>25.0%</b> of 4 rows" in page
    found = project.logged("batching")
    assert found["prediction"].to_list() == [1, 1, 2, 3]


def test_an_engine_elsewhere_is_asked_once_over_either_protocol(tmp_path: Any) -> None:
    with started(sys.executable, "odd_engine.py", ready="/v1/models") as engine:
        project = Project(tmp_path, REMOTE % engine)
        project.run()
        with project.served() as address:

            def chat(content: str, **options: Any) -> httpx.Response:
                body = {"messages": [{"role": "user", "content": content}], **options}
                return address.client.post("/v1/chat/completions", json=body)

            seen = [chat("hello", temperature=0) for _ in range(3)]
            other = chat("hello", temperature=1)
            failed = [chat("500") for _ in range(2)]
            no_json = [chat("no json") for _ in range(2)]
            row = {"request": {"messages": [{"role": "user", "content": "row"}]}}
            rows = [address.client.post("/predict", json=row) for _ in range(2)]
        asked = httpx.get(f"{engine}/asked", trust_env=False).json()
        found = project.logged("service")

    assert [each.headers["cache-status"].partition("; ttl")[0] for each in seen] == [
        "drivetrain; fwd=miss",
        "drivetrain; hit",
        "drivetrain; hit",
    ]
    assert len({each.content for each in seen}) == 1
    assert len({each.headers["x-drivetrain-id"] for each in seen}) == 3
    assert other.headers["cache-status"] == "drivetrain; fwd=miss"
    assert [each.status_code for each in (*failed, *no_json)] == [502] * 4
    assert rows[0].json()["prediction"] == rows[1].json()["prediction"]
    assert rows[1].headers["cache-status"].startswith("drivetrain; hit")
    assert [asked[each] for each in ("hello", "500", "no json", "row")] == [2, 2, 2, 1]
    assert found.height == 6

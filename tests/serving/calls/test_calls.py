"""Services that call services: in one worker, and in two real servers that speak HTTP."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.serving.project import Address, Project
from tests.serving.world import free_port, wait_until

from drivetrain.serving.log import find_prediction
from drivetrain.serving.sealing import seal
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SYSTEM = '''
import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import numpy as np

import drivetrain as dt


class Score(msgspec.Struct):
    score: float


@dt.predictor
class Brief:
    def predict(self, text: list[str]) -> list[float]:
        return [len(each) / 10 for each in text]


@dt.predictor
class Long:
    async def predict(self, text: str) -> Score:
        if text == "fail":
            raise RuntimeError("a secret of the model")
        if text.startswith("wait"):
            try:
                await asyncio.sleep(float(text[4:]))
            except asyncio.CancelledError:
                with open(os.environ["NOTES"], "a") as file:
                    file.write("cancelled\\n")
                raise
        return Score(len(text) / 100)


small = dt.Service(Brief)
large = dt.Service(Long, max_concurrent=2, timeout_s=20)


@dt.predictor
class Pair:
    """Takes a batch, and passes it on as one."""

    small = dt.calls(small, float)

    async def predict(self, text: list[str]) -> list[float]:
        return [each.prediction for each in await self.small([{"text": each} for each in text])]


both = dt.Service(Pair)


@dt.predictor
class Whole:
    small, large = dt.calls(small, float), dt.calls(large, Score)
    others = {"both": dt.calls(both), "typo": dt.calls(small, int)}

    async def predict(self, mode: str, text: str = "") -> Any:
        row = {"text": text}
        match mode:
            case "cascade":
                first = await self.small(row)
                return first.prediction if first.prediction > 0.9 else (await self.large(row)).prediction.score
            case "ensemble":
                one, other = await asyncio.gather(self.small(row), self.large({"text": np.str_(text)}))
                return {"ids": [one.id, other.id], "mean": (one.prediction + other.prediction.score) / 2}
            case "many":
                found = await self.small([{"text": each} for each in text.split()])
                return {"batches": [each.prediction for each in found], "none": await self.small([])}
            case "nested":
                return (await self.others["both"](row)).prediction
            case "wrong":
                return (await self.small({"txet": text})).id
            case "type":
                return (await self.others["typo"](row)).id
            case "value":
                return (await self.small({"text": object()})).id
            case "busy":
                return len(await asyncio.gather(*[self.large(row) for _ in range(3)]))
            case "left":
                return len(await asyncio.gather(self.large({"text": "wait5"}), self.wrong()))
            case "caught":
                try:
                    return (await self.large(row)).id
                except dt.CallFailed as error:
                    return {"service": error.service, "status": error.called_status, "reason": error.reason}

    async def wrong(self) -> None:
        await asyncio.sleep(0.3)
        await self.small({"txet": "x"})


outer = dt.Service(Whole, timeout_s=10)


@dt.predictor
class Told:
    large = dt.calls(large, Score)

    async def predict(self, texts: list[str]) -> AsyncIterator[float]:
        for text in texts:
            yield (await self.large({"text": text})).prediction.score


telling = dt.Service(Told, timeout_s=1)
gates = [dt.Gate(each, name=f"gate_{each.name}") for each in (Brief, Long, Pair, Whole, Told)]
'''


class Setting:
    """An outer service with those it calls, in one server or in two."""

    def __init__(self, project: Project, address: Address, large: Address | None) -> None:
        self.project, self.address, self.large = project, address, large

    def ask(self, mode: str, text: str = "", **options: Any) -> httpx.Response:
        return self.address.client.post("/predict", json={"mode": mode, "text": text}, **options)

    def told(self, mode: str, text: str = "") -> Any:
        found = self.ask(mode, text)
        assert found.status_code == 200, found.text
        return found.json()["prediction"]

    def cancelled(self) -> int:
        path = self.project.folder / "notes"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("calls"), SYSTEM)
    made.run()
    return made


@contextmanager
def served_at_an_address(project: Project, service: str, **settings: str) -> Iterator[tuple[Address, Address]]:
    """Serve `large` in a server of its own, and a service that calls it there."""
    notes: dict[str, Any] = {"NOTES": str(project.folder / "notes")}
    with project.served("large", DRIVETRAIN_SERVE_TOKEN="t0p", **notes) as large:
        where: dict[str, Any] = {
            "DRIVETRAIN_SERVE_ADDRESSES": f"large={large.url}",
            "DRIVETRAIN_SERVE_ADDRESS_TOKENS": "large=t0p",
        } | settings
        with project.served(service, **where, **notes) as address:
            yield address, large


@pytest.fixture(scope="module", params=["in one server", "in two servers"])
def setting(project: Project, request: pytest.FixtureRequest) -> Iterator[Setting]:
    if request.param == "in one server":
        with project.served("outer", NOTES=str(project.folder / "notes")) as address:
            yield Setting(project, address, None)
    else:
        with served_at_an_address(project, "outer") as (address, large):
            yield Setting(project, address, large)


def test_a_cascade_asks_the_second_only_where_the_first_is_not_sure(setting: Setting) -> None:
    assert setting.told("cascade", "ten letters") == 1.1
    assert setting.told("cascade", "five5") == 0.05


def test_an_ensemble_asks_all_at_once_and_the_chain_is_in_the_log(setting: Setting) -> None:
    answer = setting.ask("ensemble", "four").json()

    ids = answer["prediction"]["ids"]
    assert answer["prediction"]["mean"] == pytest.approx(0.22)
    (row,) = setting.project.logged("outer").filter(id=answer["id"]).iter_rows(named=True)
    assert sorted(row["calls"], key=lambda each: each["service"]) == [
        {"service": "large", "id": ids[1], "version": "long@1"},
        {"service": "small", "id": ids[0], "version": "brief@1"},
    ]
    for name, number in (("small", 0), ("large", 1)):
        (inner,) = setting.project.logged(name).filter(id=ids[number]).iter_rows(named=True)
        assert inner["request"] == {"text": "four"}
    assert f"called    {ids[0]} of small, by brief@1" in setting.project.command("why", answer["id"]).stdout


def test_a_trace_goes_along_to_whom_is_called(setting: Setting) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = setting.ask("ensemble", "four", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}).json()

    small, large = answer["prediction"]["ids"]
    for name, prediction in (("outer", answer["id"]), ("small", small), ("large", large)):
        (row,) = setting.project.logged(name).filter(id=prediction).iter_rows(named=True)
        assert row["trace"] == trace
    assert f"trace     {trace}" in setting.project.command("why", answer["id"]).stdout


def test_a_list_of_rows_goes_as_one_batch(setting: Setting) -> None:
    def batches() -> float:
        lines = setting.address.client.get("/metrics").text.splitlines()
        return float(
            next(line for line in lines if line.startswith('drivetrain_batches_total{service="small"')).split()[1]
        )

    before = batches()

    assert setting.told("many", "a bb ccc") == {"batches": [0.1, 0.2, 0.3], "none": []}
    assert batches() == before + 1


def test_the_rows_of_a_batch_keep_their_calls_apart(setting: Setting) -> None:
    rows = [{"mode": "cascade", "text": "x" * number} for number in (11, 1, 12)]

    answers = setting.address.client.post("/predict", json=rows).json()["predictions"]

    logged = setting.project.logged("outer")
    calls = [logged.filter(id=each["id"])["calls"][0].to_list() for each in answers]
    assert [[call["service"] for call in each] for each in calls] == [["small"], ["small", "large"], ["small"]]


def test_a_called_service_may_call_another(setting: Setting) -> None:
    answer = setting.ask("nested", "four").json()

    assert answer["prediction"] == 0.4
    (call,) = setting.project.logged("outer").filter(id=answer["id"])["calls"][0].to_list()
    (inner,) = setting.project.logged("both").filter(id=call["id"])["calls"][0].to_list()
    assert inner["service"] == "small"


def test_what_is_left_of_the_time_goes_along_and_the_work_ends_with_it(setting: Setting) -> None:
    before, started = setting.cancelled(), time.monotonic()

    told = setting.ask("ensemble", "wait8", headers={"x-request-timeout-ms": "1000"})

    assert told.status_code == 504
    assert time.monotonic() - started < 5
    assert told.json()["called"] == {"service": "large", "status": 504}
    wait_until(lambda: setting.cancelled() == before + 1, 3)


def test_a_client_that_goes_away_takes_the_calls_with_it(setting: Setting) -> None:
    before = setting.cancelled()

    with pytest.raises(httpx.ReadTimeout):
        setting.ask("cascade", "wait8", timeout=0.4)

    wait_until(lambda: setting.cancelled() == before + 1, 3)


def test_a_call_that_is_left_over_ends_with_the_request(setting: Setting) -> None:
    before = setting.cancelled()

    assert setting.ask("left").status_code == 500
    wait_until(lambda: setting.cancelled() == before + 1, 3)


def test_a_wrong_call_is_a_fault_of_the_code_and_names_the_field(setting: Setting) -> None:
    told = setting.ask("wrong", "x")

    assert told.status_code == 500
    assert told.json()["called"] == {"service": "small", "status": 422}
    assert "text of row 0 is nothing" in told.json()["error"] or "txet" in told.json()["error"]
    assert {problem["field"] for problem in told.json()["problems"]} == {"text", "txet"}
    assert "gives what is no int" in setting.ask("type", "xyz").json()["error"]
    assert setting.ask("value").status_code == 500


def test_a_service_that_fails_is_named_and_its_secrets_are_not_told(setting: Setting) -> None:
    told = setting.ask("cascade", "fail")

    assert told.status_code == 502
    assert told.json()["called"] == {"service": "large", "status": 500}
    assert told.json()["error_id"].startswith("error-")
    assert "secret" not in told.text
    assert setting.told("caught", "fail")["status"] == 500


def test_too_much_to_do_is_passed_on_with_when_to_come_again(setting: Setting) -> None:
    told = setting.ask("busy", "wait0.5")

    assert told.status_code == 503
    assert told.headers["retry-after"] == "1"
    assert told.json()["called"] == {"service": "large", "status": 503}


def test_readiness_says_who_answers_for_each_call(setting: Setting) -> None:
    calls = setting.address.client.get("/readyz").json()["calls"]

    assert calls["small"] == {"champion": "brief@1"}
    assert calls["large"] == ({"champion": "long@1"} if setting.large is None else setting.large.url)


def test_a_job_calls_in_memory(setting: Setting) -> None:
    client = setting.address.client
    job = client.post("/jobs", json=[{"mode": "cascade", "text": "five5"}, {"mode": "nested", "text": "four"}]).json()

    wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["state"] == "done", 20)

    told = client.get(f"/jobs/{job['id']}/result").json()
    assert [each["prediction"] for each in told["predictions"]] == [0.05, 0.4]


def test_a_stream_calls_between_its_pieces(project: Project) -> None:
    with served_at_an_address(project, "telling") as (address, _):
        told = address.predict({"texts": ["a", "bb"]})
        late = address.client.post("/predict", json={"texts": ["wait8"]})

    assert told["prediction"] == [0.01, 0.02]
    (row,) = project.logged("telling").filter(id=told["id"]).iter_rows(named=True)
    assert [call["version"] for call in row["calls"]] == ["long@1", "long@1"]
    assert late.status_code == 504
    assert "'large'" in late.json()["error"]


def test_a_server_that_is_away_is_named(project: Project) -> None:
    inner = ExitStack()
    small = inner.enter_context(project.served("small"))
    with inner, project.served("both", DRIVETRAIN_SERVE_ADDRESSES=f"small={small.url}") as address:
        before = address.predict([{"text": "four"}, {"text": "a"}])["predictions"]
        inner.close()
        told = address.client.post("/predict", json={"text": "four"})
        wait_until(lambda: address.client.get("/readyz").status_code == 503, 5)
        problems = address.client.get("/readyz").json()["problems"]

    assert [each["prediction"] for each in before] == [0.4, 0.1]
    assert told.status_code == 503
    assert told.headers["retry-after"]
    assert told.json()["called"] == {"service": "small", "status": 503}
    assert problems == ["small: its server does not answer: ConnectError"]


def test_a_server_says_at_its_start_that_one_that_it_calls_is_away(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    gone, said = f"http://127.0.0.1:{free_port()}", ""

    def is_said() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "both calls small" in said

    with project.served("both", ready=False, DRIVETRAIN_SERVE_ADDRESSES=f"small={gone}"):
        wait_until(is_said, 20)

    assert f"both calls small, at {gone}, which is not ready: its server does not answer: ConnectError" in said


@pytest.mark.slow
def test_an_address_without_its_token_or_of_another_service_is_named(project: Project) -> None:
    with project.served("both", DRIVETRAIN_SERVE_TOKEN="t0p") as other:
        wrong: dict[str, Any] = {"DRIVETRAIN_SERVE_ADDRESSES": f"large={other.url}"}
        with project.served("telling", **wrong) as address:
            without = address.refused({"texts": ["a"]}, 502)
        with project.served("telling", **wrong, DRIVETRAIN_SERVE_ADDRESS_TOKENS="large=t0p") as address:
            another = address.refused({"texts": ["a"]}, 502)

    assert "'large', which is called here, does not take requests from here (401)" in without["error"]
    assert "where pair answers and not long" in another["error"]


@pytest.mark.slow
def test_a_called_service_is_swapped_and_one_without_a_champion_is_waited_for(tmp_path: Path) -> None:
    gates = SYSTEM.index("gates = [")
    project = Project(tmp_path, SYSTEM[:gates] + "gate_both = dt.Gate(Pair)\n")
    project.run()
    with project.served("both", ready=False) as address:
        waits = address.client.get("/readyz")
        refused = address.refused({"text": "four"}, 503)
        project.write("system.py", SYSTEM)
        project.run()
        wait_until(lambda: address.client.get("/readyz").status_code == 200, 20)
        first = address.predict({"text": "four"})["prediction"]
        project.write("system.py", SYSTEM.replace("len(each) / 10 for", "len(each) / 20 for"))
        project.run()
        wait_until(lambda: address.client.get("/readyz").json()["calls"]["small"] == {"champion": "brief@2"}, 20)
        second = address.predict({"text": "four"})

    with closing(Store.open(tmp_path / ".drivetrain")) as store:
        assert seal(store, "both") == 2
        assert [call.version for call in find_prediction(store, second["id"]).calls] == ["brief@2"]
    assert waits.status_code == 503
    assert waits.json()["problems"] == ["small: brief has no champion yet"]
    assert refused["called"] == {"service": "small", "status": 503}
    assert (first, second["prediction"], second["version"]) == (0.4, 0.2, "pair@1")

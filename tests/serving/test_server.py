"""A running server: what it answers, how it changes versions, and what happens when something dies."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from tests.serving.world import (
    MODEL,
    ROW,
    SERVICE,
    Server,
    logged,
    promote,
    register,
    served,
    signature,
    try_out,
    wait_until,
)

from drivetrain.data.schema import Column
from drivetrain.errors import Refused, UsageError
from drivetrain.security.event import Event
from drivetrain.serving.counters import totals
from drivetrain.serving.log import join_labels, read_feedback
from drivetrain.serving.server import check_address, check_port

if TYPE_CHECKING:
    from drivetrain.store.store import Store


def test_one_row_gets_one_answer(server: Server) -> None:
    seen = server.predict(ROW).json()

    assert set(seen) == {"id", "version", "prediction"}
    assert seen["version"] == f"{MODEL}@1"
    assert seen["id"].startswith("pred-")


def test_many_rows_get_their_answers_in_order(server: Server) -> None:
    distances = [float(number) for number in range(500)]

    seen = server.predict([{**ROW, "distance": distance} for distance in distances]).json()["predictions"]
    alone = [server.predict({**ROW, "distance": distance}).json()["prediction"] for distance in (0.0, 130.0, 499.0)]

    assert [seen[place]["prediction"] for place in (0, 130, 499)] == alone
    assert len({each["id"] for each in seen}) == 500
    assert [each["id"] for each in seen] == sorted(each["id"] for each in seen)
    assert server.predict([]).json() == {"predictions": []}


def test_rows_of_many_clients_at_once_are_not_mixed_up(server: Server) -> None:
    def asked(distance: float) -> tuple[float, float]:
        with httpx.Client(base_url=server.url, timeout=20) as client:
            answers = [client.post("/predict", json={**ROW, "distance": distance}).json() for _ in range(20)]
        return distance, {answer["prediction"] for answer in answers}.pop()

    with ThreadPoolExecutor(8) as pool:
        seen = dict(pool.map(asked, [40.0, 80.0, 90.0, 100.0, 110.0, 120.0, 160.0, 200.0]))

    assert all(
        server.predict({**ROW, "distance": distance}).json()["prediction"] == seen[distance] for distance in seen
    )


def test_the_log_has_what_was_asked_and_answered(server: Server) -> None:
    told = server.predict({**ROW, "ticket": "logged", "wind": None}).json()

    found = logged(server.store).filter(id=told["id"]).row(0, named=True)

    assert found["version"] == told["version"]
    assert found["arm"] == "champion"
    assert found["key"] == "logged"
    assert found["time"].isoformat() == "2026-01-31T09:30:00+00:00"
    assert found["prediction"] == told["prediction"]
    assert found["request"]["city"] == "Oslo"
    assert found["features"] == {"distance": 120.5, "stops": 2, "wind": None}


def test_feedback_reaches_the_predictions_it_belongs_to(server: Server) -> None:
    first = server.predict({**ROW, "ticket": "by-key"}).json()["id"]
    second = server.predict({**ROW, "ticket": "by-id"}).json()["id"]

    one = server.client.post("/feedback", json={"key": "by-key", "label": 1})
    many = server.client.post("/feedback", json=[{"id": second, "label": 1}, {"id": second, "label": False}])

    assert (one.json(), many.json()) == ({"accepted": 1}, {"accepted": 2})
    found = join_labels(logged(server.store), read_feedback(server.store, SERVICE))
    assert dict(found.filter(found["id"].is_in([first, second])).select("id", "label").iter_rows()) == {
        first: 1,
        second: 0,
    }


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["id", "label"]),
        ({"label": 1}, ["id"]),
        ({"key": "t-1"}, ["label"]),
        ({"key": "t-1", "id": "pred-01jd8m3k200004h7wz", "label": 1}, ["id"]),
        ({"id": "pred-1", "label": 1}, ["id"]),
        ({"id": 5, "label": 1}, ["id"]),
        ({"key": ["t-1"], "label": 1}, ["key"]),
        ({"key": "t-1", "label": 2}, ["label"]),
        ({"key": "t-1", "label": "1"}, ["label"]),
        ({"key": "t-1", "label": None}, ["label"]),
        ({"key": "t-1", "label": 0.5}, ["label"]),
        ({"key": "t-1", "label": 1, "colour": 3}, ["colour"]),
        (["label"], [None]),
    ],
)
def test_feedback_that_does_not_fit_is_refused(server: Server, body: Any, fields: list[str | None]) -> None:
    seen = server.client.post("/feedback", json=body)

    assert seen.status_code == 422
    assert [problem["field"] for problem in seen.json()["problems"]] == fields


def test_metrics_are_in_prometheus_text(server: Server) -> None:
    server.predict([ROW] * 3)
    server.predict({})

    lines = server.client.get("/metrics").text.splitlines()

    samples = {}
    for line in lines:
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    families = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert all(
        name.split("{")[0].removesuffix("_bucket").removesuffix("_sum") in families or "count" in name
        for name in samples
    )
    assert samples[f'drivetrain_rows_total{{service="{SERVICE}",arm="champion"}}'] >= 3
    assert samples[f'drivetrain_requests_total{{service="{SERVICE}",status="4xx"}}'] >= 1
    buckets = [value for name, value in samples.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert buckets[-1] == samples[f'drivetrain_request_seconds_count{{service="{SERVICE}"}}']
    assert samples[f'drivetrain_version_info{{service="{SERVICE}",arm="champion",version="{MODEL}@1"}}'] == 1


def test_the_examples_of_the_description_can_be_sent_as_they_stand(server: Server) -> None:
    description = server.client.get("/openapi.json").json()

    assert description["openapi"] == "3.1.0"
    sent = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            if "{job}" in path:  # there is none yet
                continue
            status = next(iter(operation["responses"]))
            for each in operation.get("parameters", []):
                path = path.replace(f"{{{each['name']}}}", each["schema"]["enum"][0])
            contents = operation.get("requestBody", {}).get("content", {"application/json": {}})
            for kind, content in contents.items():
                for example in content.get("examples", {} if "requestBody" in operation else {"none": {}}).values():
                    value = example.get("value")
                    body = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
                    seen = server.client.request(method, path, content=body, headers={"content-type": kind})
                    assert seen.status_code == (403 if path.endswith("load") else int(status)), (path, seen.text)
                    assert seen.headers["content-type"].split(";")[0] in operation["responses"][status]["content"]
                    sent.append((path, kind))
    assert ("/invocations", "text/csv") in sent
    assert (f"/v2/models/{MODEL}/infer", "application/json") in sent
    for reference in _references(description):
        assert reference.removeprefix("#/components/schemas/") in description["components"]["schemas"]
    assert description["components"]["schemas"]["Row"]["required"] == [
        name for name in ROW if name not in ("ticket", "wind")
    ]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for each in value.values() for found in _references(each)]
    return [found for each in value for found in _references(each)] if isinstance(value, list) else []


def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    seen = server.client.get("/docs")

    assert seen.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in seen.headers["content-security-policy"]
    assert "asked_at" in seen.text
    assert "%" + "body%" not in seen.text
    assert "https://" not in seen.text


def test_a_foreign_host_name_is_refused(server: Server) -> None:
    seen = [
        server.client.get("/version", headers={"host": host}).status_code
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost:1", "127.0.0.1", "LOCALHOST", "[::1]:80")
    ]

    assert seen == [421, 421, 200, 200, 200, 200]


def test_a_public_address_needs_a_token_and_a_taken_port_is_found_out(server: Server) -> None:
    with pytest.raises(Refused, match="no token"):
        check_address("0.0.0.0", "")
    check_address("0.0.0.0", "secret")
    check_address("::1", "")
    with pytest.raises(UsageError, match="port"):
        check_port("127.0.0.1", int(server.url.rpartition(":")[2]))


def test_a_token_is_asked_of_all_but_the_probes(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store, TOKEN="secret") as server:
        right = {"authorization": "Bearer secret"}

        health = ("/healthz", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready")
        others = ("/version", "/metrics", "/", "/v2", "/v2/models/late/ready")
        seen = {path: server.client.get(path).status_code for path in (*health, *others)}
        wrong = [
            server.predict(ROW, headers={"authorization": value}).status_code
            for value in ("Bearer secre", "secret", "Bearer", "bearer secret", "Bearer secrét".encode())
        ]

        assert seen == dict.fromkeys(health, 200) | dict.fromkeys(others, 401)
        assert set(wrong) == {401}
        assert server.predict(ROW, headers=right).status_code == 200


def test_a_server_waits_for_its_first_champion(store: Store) -> None:
    with served(store, ready=False) as server:
        before = [
            server.client.get("/readyz"),
            server.predict(ROW),
            server.client.get("/docs"),
            server.client.get("/healthz"),
        ]

        promote(store, register(store, 1))
        wait_until(lambda: server.client.get("/readyz").status_code == 200)

        assert [each.status_code for each in before] == [503, 503, 200, 200]
        assert "no champion" in before[0].text
        assert server.predict(ROW).status_code == 200


class Load:
    """Clients that ask all the time; what they got is in `seen` when the block ends."""

    def __init__(self, server: Server, clients: int = 4, *, forgives: bool = False) -> None:
        self.server, self.clients, self.forgives = server, clients, forgives
        self.seen: list[dict[str, Any]] = []
        self.failures: list[Any] = []

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        client = httpx.Client(base_url=self.server.url, timeout=20)
        turn = 0
        while not self._stop.is_set():
            turn += 1
            try:
                answer = client.post("/predict", json={**ROW, "ticket": f"c{number}-{turn}"})
            except httpx.TransportError as error:
                client.close()
                client = httpx.Client(base_url=self.server.url, timeout=20)
                if not self.forgives:
                    self.failures.append(error)
                continue
            if answer.status_code == 200:
                self.seen.append(answer.json())
            else:
                self.failures.append(answer.text)
        client.close()


def test_versions_change_under_load_without_a_failed_request(store: Store) -> None:
    versions = [register(store, number) for number in (1, 2, 3)]
    promote(store, versions[0])
    with served(store) as server:
        with Load(server) as load:
            for version in (*versions[1:], versions[0]):
                time.sleep(0.5)
                promote(store, version)
                wait_until(lambda wanted=version.id: load.seen[-1]["version"] == wanted)
            time.sleep(0.2)
        swaps = totals(store.root / "serving" / SERVICE).swaps

    assert load.failures == []
    assert {answer["version"] for answer in load.seen} == {version.id for version in versions}
    assert swaps == 4
    told = logged(store)
    assert set(told["id"]) == {answer["id"] for answer in load.seen}


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(store: Store) -> None:
    good = register(store, 1)
    bad = register(store, 2, artifact=msgspec.structs.replace(good.artifact, digest="sha256:" + "0" * 64, detail={}))
    promote(store, good)
    with served(store) as server:
        promote(store, bad)
        wait_until(lambda: "problems" in server.client.get("/readyz").json())

        seen = server.predict(ROW)

        assert seen.json()["version"] == good.id
        assert bad.id in server.client.get("/readyz").json()["problems"][0]
        wait_until(lambda: store.ledger.find(Event, {"kind": "service.load_failed"}))
        assert len(store.ledger.find(Event, {"kind": "service.load_failed"})) == 1
        promote(store, good)
        wait_until(lambda: "problems" not in server.client.get("/readyz").json())


def test_a_canary_gets_its_share_and_an_entity_keeps_its_arm(store: Store) -> None:
    champion, challenger = register(store, 1), register(store, 2)
    promote(store, champion)
    with served(store) as server:
        rollout = try_out(store, champion, challenger, 0.3)
        wait_until(lambda: "canary" in server.client.get("/readyz").json()["versions"])
        asked = [{**ROW, "ticket": f"t-{number}"} for number in range(500)]

        first = [each["version"] for _ in range(4) for each in server.predict(asked).json()["predictions"]]
        nameless = [{name: value for name, value in ROW.items() if name != "ticket"}] * 500
        by_id = Counter(each["version"] for each in server.predict(nameless).json()["predictions"])

        assert first[:500] * 4 == first
        assert 0.22 < first[:500].count(challenger.id) / 500 < 0.38
        assert 0.22 < by_id[challenger.id] / 500 < 0.38
        arms = logged(store).group_by("arm", "version").len().sort("arm").rows()
        assert [row[:2] for row in arms] == [("canary", challenger.id), ("champion", champion.id)]
        assert totals(store.root / "serving" / SERVICE).rows_canary == {row[0]: row[2] for row in arms}["canary"]

        store.ledger.write(msgspec.structs.replace(rollout, state="rolled_back"))
        wait_until(lambda: "canary" not in server.client.get("/readyz").json()["versions"])
        assert {each["version"] for each in server.predict(asked).json()["predictions"]} == {champion.id}


def test_a_challenger_may_ask_for_more_than_the_champion(store: Store) -> None:
    added = Column(name="snow", kind="float", dtype="Float64", example=0.5)
    more = msgspec.structs.replace(signature(), request=[*signature().request, added])
    champion, challenger = register(store, 1), register(store, 2, signature=more)
    promote(store, champion)
    try_out(store, champion, challenger, 0.5)
    with served(store) as server:
        asked = [{**ROW, "ticket": f"t-{number}"} for number in range(200)]

        old = {each["version"] for each in server.predict(asked).json()["predictions"]}
        new = {
            each["version"] for each in server.predict([{**row, "snow": 1.5} for row in asked]).json()["predictions"]
        }

        assert old == {champion.id}
        assert new == {champion.id, challenger.id}


def test_a_killed_worker_is_replaced_and_no_answer_of_its_is_lost(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store, workers=2) as server:
        before = server.pids()
        with Load(server, forgives=True) as load:
            wait_until(lambda: len(load.seen) > 300)
            os.kill(before[0], signal.SIGKILL)
            count = len(load.seen)
            wait_until(lambda: len(load.seen) > count + 300)
            wait_until(lambda: len(set(server.pids()) - set(before)) == 1, 20)
            time.sleep(0.3)

    assert load.failures == []
    assert {answer["id"] for answer in load.seen} <= set(logged(store)["id"])


def test_a_full_disk_stops_the_log_and_not_the_answers(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store, FILE_LIMIT="200000") as server:
        (pid,) = server.pids()
        answered = [server.predict([ROW] * 100).json()["predictions"][0]["id"] for _ in range(3)]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

        unlogged = server.predict([ROW] * 5)
        state = server.client.get("/readyz").json()
        refused = server.client.post("/feedback", json={"key": "t-1", "label": 1})

        assert unlogged.status_code == 200
        assert "not logged" in state["problems"][0]
        assert refused.status_code == 503
        assert totals(store.root / "serving" / SERVICE).log_failures == 6

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        again = server.predict(ROW).json()["id"]

        assert "problems" not in server.client.get("/readyz").json()
        found = logged(store)
        assert {*answered, again} <= set(found["id"])
        assert len(found) == 301


def test_telling_a_server_to_stop_lets_it_finish(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store) as server, Load(server, forgives=True) as load:
        wait_until(lambda: len(load.seen) > 50)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(timeout=20)
        taken = time.monotonic() - started

    assert code == 0
    assert taken < 8
    assert load.failures == []
    assert {answer["id"] for answer in load.seen} <= set(logged(store)["id"])


def test_a_version_without_a_fast_build_answers_as_well(store: Store) -> None:
    promote(store, register(store, 1, is_fast=False))
    with served(store) as server:
        plain = server.predict(ROW).json()
        build = server.client.get("/version").json()["champion"]["build"]
        promote(store, register(store, 2))
        wait_until(lambda: server.client.get("/version").json()["champion"]["build"] == "onnx", 20)

    assert build == "skops"
    assert 0 < plain["prediction"] < 1

"""A running server that keeps its answers: what is found again, by whom, for how long, and what is told of it."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from tests.serving.test_predictor import cities, with_features
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
from drivetrain.pipeline.run import StepRun
from drivetrain.serving.counters import Totals, totals
from drivetrain.serving.media import as_csv
from drivetrain.store.record import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drivetrain.store.store import Store


@pytest.fixture
def caching(store: Store) -> Iterator[Server]:
    promote(store, register(store, 1))
    with served(store, CACHE="5m") as running:
        yield running


def told(answer: httpx.Response) -> str:
    """Return what a client is told of known answers, without for how long."""
    assert answer.status_code == 200, answer.text
    return answer.headers["cache-status"].partition("; ttl=")[0]


def counted(store: Store) -> Totals:
    return totals(store.root / "serving" / SERVICE)


def test_a_known_answer_has_an_id_and_a_line_of_its_own_and_is_counted_once(caching: Server) -> None:
    first, second = caching.predict(ROW), caching.predict({**ROW, "ticket": "t-2", "city": "Rome"})

    assert [told(first), told(second)] == ["drivetrain; fwd=miss", "drivetrain; hit"]
    assert first.json()["prediction"] == second.json()["prediction"]
    found = logged(caching.store)
    assert found["id"].to_list() == [first.json()["id"], second.json()["id"]]
    assert found["key"].to_list() == ["t-1", "t-2"]
    assert found["prediction"].n_unique() == 1
    assert [each["city"] for each in found["request"]] == ["Oslo", "Rome"]
    assert found["features"][0] == found["features"][1]
    sums = counted(caching.store)
    assert (sums.rows, sums.batches, sums.answered_2xx) == (2, 1, sums.answered_2xx)
    assert (sums.cache_hits, sums.cache_misses, sums.cache_entries) == (1, 1, 1)
    metrics = caching.client.get("/metrics").text
    assert f'drivetrain_cache_hits_total{{service="{SERVICE}"}} 1\n' in metrics
    assert "<b>50.0%</b> of 2 rows" in caching.client.get("/docs").text


def test_the_log_of_many_known_rows_is_as_that_of_new_ones(caching: Server) -> None:
    rows = [{**ROW, "ticket": f"t-{number}", "distance": float(number)} for number in range(20)]

    new, known = (caching.predict(rows).json()["predictions"] for _ in range(2))

    assert [each["prediction"] for each in new] == [each["prediction"] for each in known]
    found = logged(caching.store)
    assert found["id"].to_list() == [each["id"] for each in [*new, *known]]
    columns = ["version", "arm", "key", "time", "prediction", "request", "features"]
    assert found[:20].select(columns).equals(found[20:].select(columns))


def test_a_request_is_answered_by_what_is_known_and_the_model_by_row(caching: Server) -> None:
    known, new = {**ROW, "distance": 40.0}, {**ROW, "distance": 200.0}
    alone = caching.predict(known).json()["prediction"]

    partly = caching.predict([new, known, {**ROW, "distance": 90.0}])

    assert told(partly) == "drivetrain; fwd=partial"
    assert partly.json()["predictions"][1]["prediction"] == alone
    assert told(caching.predict(new)) == "drivetrain; hit"
    sums = counted(caching.store)
    assert (sums.cache_hits, sums.cache_misses, sums.rows) == (2, 3, 5)
    assert logged(caching.store)["id"].n_unique() == 5


def test_one_row_is_found_whatever_protocol_it_came_by(caching: Server) -> None:
    plain = {name: value for name, value in ROW.items() if name != "ticket"}
    spaced = "{" + ", ".join(f'"{name}" : {httpx_json(value)}' for name, value in reversed(plain.items())) + "}"
    kinds = {"asked_at": "BYTES", "distance": "FP64", "stops": "INT32", "is_new": "BOOL", "city": "BYTES",
             "day": "BYTES", "wind": "FP64"}  # fmt: skip
    inputs = [{"name": name, "datatype": kind, "shape": [1], "data": [ROW[name]]} for name, kind in kinds.items()]
    split = {"dataframe_split": {"columns": list(plain), "data": [list(plain.values())]}}

    def sent(path: str, kind: str, body: str) -> str:
        return told(caching.client.post(path, content=body, headers={"content-type": kind}))

    first = told(caching.predict(ROW))
    others = [
        sent("/predict", "application/json", spaced),
        sent("/predict", "application/json", httpx_json({**plain, "stops": 2, "distance": 120.50})),
        sent("/predict", "text/csv", as_csv([plain])),
        sent("/predict", "application/x-ndjson", httpx_json(plain) + "\n"),
        told(caching.client.post(f"/v2/models/{MODEL}/infer", json={"inputs": inputs})),
        told(caching.client.post("/invocations", json=split)),
        told(caching.client.post("/invocations", json={"inputs": {name: [value] for name, value in plain.items()}})),
        told(caching.client.post(f"/v1/models/{MODEL}:predict", json={"instances": [plain]})),
    ]

    assert first == "drivetrain; fwd=miss"
    assert set(others) == {"drivetrain; hit"}
    assert counted(caching.store).batches == 1
    assert logged(caching.store).height == 1 + len(others)


def httpx_json(value: Any) -> str:
    return httpx.Request("POST", "http://x", json=value).content.decode()


def test_whoever_wants_a_new_answer_says_so_as_in_http(caching: Server) -> None:
    def asked(directive: str, **changed: Any) -> str:
        return told(caching.predict({**ROW, **changed}, headers={"cache-control": directive} if directive else {}))

    caching.predict(ROW)

    assert asked("no-cache") == "drivetrain; fwd=request"
    assert asked("max-age=0") == "drivetrain; fwd=request"
    assert asked("max-age=60") == "drivetrain; hit"
    assert asked("no-store", distance=1.0) == "drivetrain; fwd=request"
    assert asked("", distance=1.0) == "drivetrain; fwd=miss"
    assert asked("no-cache", distance=2.0) == "drivetrain; fwd=request"
    assert asked("", distance=2.0) == "drivetrain; hit"
    assert counted(caching.store).batches == 6
    assert logged(caching.store).height == 8


def test_an_answer_is_known_for_as_long_as_it_is_kept(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store, CACHE="1s") as running:
        first, second = running.predict(ROW), running.predict(ROW)
        wait_until(lambda: counted(store).cache_entries == 0)
        third = running.predict(ROW)

    assert [told(each) for each in (first, second, third)] == [
        "drivetrain; fwd=miss",
        "drivetrain; hit",
        "drivetrain; fwd=miss",
    ]
    assert second.headers["cache-status"] == "drivetrain; hit; ttl=1"


def test_a_promotion_and_a_rollback_never_give_the_answer_of_another_version(store: Store) -> None:
    one, two = register(store, 1), register(store, 2)
    promote(store, one)
    seen = []
    with served(store, CACHE="5m") as running:
        for version in (one, two, one):
            promote(store, version)
            wait_until(lambda wanted=version.id: running.predict({**ROW, "distance": 1.0}).json()["version"] == wanted)
            seen.append(running.predict(ROW))

    assert [told(each) for each in seen] == ["drivetrain; fwd=miss", "drivetrain; fwd=miss", "drivetrain; hit"]
    first, second, third = (each.json() for each in seen)
    assert [each["version"] for each in (first, second, third)] == [f"{MODEL}@{number}" for number in (1, 2, 1)]
    assert first["prediction"] == third["prediction"] != second["prediction"]


def test_each_arm_of_a_canary_is_asked_for_its_own_answers(store: Store) -> None:
    champion = register(store, 1)
    added = Column(name="age", kind="int", dtype="Int64", nullable=True)
    changed = signature()
    challenger = register(store, 2, signature=type(changed)(**{
        **{name: getattr(changed, name) for name in changed.__struct_fields__}, "request": [added, *changed.request]
    }))  # fmt: skip
    promote(store, champion)
    try_out(store, champion, challenger, 0.5)
    rows = [{**ROW, "ticket": f"t-{number}"} for number in range(40)]
    with served(store, CACHE="5m") as running:
        wait_until(lambda: "canary" in running.client.get("/version").json())
        first, second = (running.predict(rows) for _ in range(2))
        unnamed = [running.predict({**ROW, "ticket": None}).json()["version"] for _ in range(60)]

    assert [told(first), told(second)] == ["drivetrain; fwd=miss; collapsed", "drivetrain; hit"]
    versions = [[each["version"] for each in answer.json()["predictions"]] for answer in (first, second)]
    assert versions[0] == versions[1]
    answers = {(each["version"], each["prediction"]) for each in second.json()["predictions"]}
    assert len(answers) == 2
    assert min(Counter(unnamed).values()) > 10  # each request is drawn anew, known or not
    found = logged(store)
    sums = counted(store)
    assert found.filter(arm="canary").height == sums.rows_canary
    assert (sums.rows, sums.cache_misses) == (found.height, 2)


def test_memory_is_bounded_in_bytes(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store, CACHE="5m", CACHE_BYTES="65536") as running:
        running.predict([{**ROW, "distance": float(number)} for number in range(500)])
        full = counted(store)
        newest = told(running.predict({**ROW, "distance": 499.0}))
        oldest = told(running.predict({**ROW, "distance": 0.0}))

    assert 60_000 < full.cache_bytes <= 65_536
    assert full.cache_entries + full.cache_evictions == 500
    assert [newest, oldest] == ["drivetrain; hit", "drivetrain; fwd=miss"]


def test_two_workers_keep_answers_each_for_itself_and_are_counted_together(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store, workers=2, CACHE="5m") as running:

        def asked(_: int) -> float:
            # A connection of its own: which worker takes it is chance.
            answer: float = httpx.post(f"{running.url}/predict", json=ROW, timeout=20).json()["prediction"]
            return answer

        with ThreadPoolExecutor(8) as pool:
            answers = set(pool.map(asked, range(80)))
        sums = counted(store)

    assert len(answers) == 1
    assert sums.workers == 2
    assert sums.cache_rows == sums.rows == logged(store).height == 80
    assert sums.cache_misses == sums.cache_entries == sums.batches
    assert sums.cache_misses in (1, 2)


def test_many_clients_at_once_each_get_the_answer_to_their_own_row(caching: Server) -> None:
    distances = [float(number % 7) * 30 for number in range(210)]

    def asked(distance: float) -> tuple[float, float]:
        found = caching.client.post("/predict", json={**ROW, "distance": distance})
        return distance, found.json()["prediction"]

    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(asked, distances))

    right = {distance: asked(distance)[1] for distance in set(distances)}
    assert all(right[distance] == answer for distance, answer in seen)
    sums = counted(caching.store)
    assert (sums.cache_misses, sums.cache_entries) == (7, 7)
    assert sums.cache_hits + sums.cache_collapsed == 210
    assert logged(caching.store)["id"].n_unique() == 217


def test_refusals_are_told_as_ever_and_say_nothing_of_known_answers(caching: Server) -> None:
    refused = caching.predict({**ROW, "distance": "far"})

    assert (refused.status_code, "cache-status" in refused.headers) == (422, False)
    assert caching.predict([]).json() == {"predictions": []}


def test_without_a_cache_nothing_is_told_of_one(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store) as running:
        answers = [running.predict(ROW) for _ in range(2)]
        page = running.client.get("/docs").text
        time.sleep(0.3)

    assert not any("cache-status" in each.headers for each in answers)
    assert counted(store).batches == 2
    assert "from what is known" not in page


def test_a_newer_table_beside_a_version_makes_old_answers_unknown(store: Store, tmp_path: Path) -> None:
    version = with_features(store, tmp_path)
    promote(store, version)
    row = {**ROW, "distance": 80.0}
    with served(store, CACHE="5m") as running:
        seen = [running.predict(row) for _ in range(2)]
        before = cities(store, 0.0)
        step = StepRun(
            run="run-2", step="cities", role="dataset", state="finished", key="k", origin="run-2", reason="",
            started_at=now(), outputs={"cities": cities(store, 60.0)},
        )  # fmt: skip
        store.ledger.write(step)
        wait_until(lambda: counted(store).swaps == 2)
        seen += [running.predict(row) for _ in range(2)]
        # The table as it was before: what was answered beside it is right again.
        store.ledger.write(msgspec.structs.replace(step, run="run-3", started_at=now(), outputs={"cities": before}))
        wait_until(lambda: counted(store).swaps == 3)
        seen.append(running.predict(row))

    assert [told(each) for each in seen] == ["drivetrain; fwd=miss", "drivetrain; hit"] * 2 + ["drivetrain; hit"]
    answers = [probability(each) for each in seen]
    assert answers[0] == answers[1] == answers[4] != answers[2] == answers[3]
    found = logged(store)
    found = found.filter(found["id"].is_in([each.json()["id"] for each in seen]))
    assert [each["distance"] for each in found["features"]] == [80.0, 80.0, 140.0, 140.0, 80.0]


def probability(answer: httpx.Response) -> float:
    found: float = answer.json()["prediction"]
    return found

"""Jobs over HTTP, on a running server."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.serving.world import MODEL, ROW, SERVICE, Server, logged, promote, register, served, try_out, wait_until

from drivetrain.serving.log import find_prediction

if TYPE_CHECKING:
    from drivetrain.store.store import Store


def take(server: Server, body: Any, **options: Any) -> dict[str, Any]:
    answer = server.client.post("/jobs", json=body, **options)
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/jobs/{told['id']}"
    return told


def ended(server: Server, job: str) -> dict[str, Any]:
    def status() -> dict[str, Any]:
        found: dict[str, Any] = server.client.get(f"/jobs/{job}", params={"wait": 5}).json()
        return found

    wait_until(lambda: status()["state"] in ("done", "failed", "cancelled"), 20)
    return status()


def test_one_row_becomes_a_job_with_the_answer_of_predict(server: Server) -> None:
    job = take(server, ROW)

    seen = ended(server, job["id"])
    result = server.client.get(seen["result"]).json()

    assert job["state"] == "queued"
    assert (seen["state"], seen["attempts"], seen["done_rows"]) == ("done", 1, 1)
    assert result["version"] == seen["version"] == f"{MODEL}@1"
    assert result["prediction"] == server.predict(ROW).json()["prediction"]
    assert set(result) == {"id", "version", "prediction"}


def test_many_rows_come_back_in_order_and_are_in_the_log_once(server: Server) -> None:
    rows = [{**ROW, "ticket": f"many-{number}", "distance": float(number)} for number in range(700)]

    seen = ended(server, take(server, rows)["id"])
    found = server.client.get(seen["result"]).json()["predictions"]
    told = [
        each["prediction"] for half in (rows[:400], rows[400:]) for each in server.predict(half).json()["predictions"]
    ]

    assert [each["prediction"] for each in found] == told
    log = logged(server.store)
    assert len(log.filter(log["id"].is_in([each["id"] for each in found]))) == 700
    one = find_prediction(server.store, found[5]["id"])
    assert (one.key, one.prediction, one.service) == ("many-5", found[5]["prediction"], SERVICE)
    label = server.client.post("/feedback", json={"id": found[5]["id"], "label": 1})
    assert label.status_code == 200
    assert find_prediction(server.store, found[5]["id"]).label == 1


def test_text_over_several_lines_is_kept_as_it_is(server: Server) -> None:
    body = b"[\r\n  " + httpx.Request("POST", "http://x", json=ROW).content.replace(b",", b",\r\n ") + b"\n]"

    answer = server.client.post("/jobs", content=body, headers={"content-type": "application/json"})

    assert ended(server, answer.json()["id"])["state"] == "done"


JSON = {"content-type": "application/json"}
BAD: list[tuple[str, bytes, dict[str, str], int]] = [
    ("", b"", JSON, 400),
    ("", b"{", JSON, 400),
    ("", b"nul", JSON, 400),
    ("", b"\xff\xfe", JSON, 400),
    ("", b'{"a": NaN}', JSON, 400),
    ("", b"[" * 5000, JSON, 400),
    ("", b"null", JSON, 422),
    ("", b"5", JSON, 422),
    ("", b'"text"', JSON, 422),
    ("", b"[]", JSON, 422),
    ("", b"{}", JSON, 422),
    ("", b"[{}]", JSON, 422),
    ("", b"[[]]", JSON, 422),
    ("", b"[null]", JSON, 422),
    ("", b'{"rows": []}', JSON, 422),
    ("", b'{"ticket": "a", "ticket": "b"}', JSON, 422),
    ("", b'{"distance": 1e999}', JSON, 422),
    ("", b'{"stops": 99999999999999999999999}', JSON, 422),
    ("", b"[" + b",".join([b"{}"] * 801) + b"]", JSON, 413),
    ("", b" " * 250_000, JSON, 413),
    ("", b"{}", {}, 415),
    ("", b"{}", {"content-type": "text/plain"}, 415),
    ("", b"{}", {"content-type": "multipart/form-data"}, 415),
    ("OK", b"", JSON | {"idempotency-key": ""}, 400),
    ("OK", b"", JSON | {"idempotency-key": "x" * 256}, 400),
    ("OK", b"", JSON | {"idempotency-key": "a\tb"}, 400),
    ("OK?callback_url=http://127.0.0.1/", b"", JSON, 422),
    ("OK?callback_url=", b"", JSON, 422),
    ("OK?callback_url=file:///etc/passwd", b"", JSON, 422),
    ("OK?callback_url=http://[::1", b"", JSON, 422),
    ("OK?callback_url=http://a:99999/", b"", JSON, 422),
    ("OK?callback_url=a&callback_url=b", b"", JSON, 422),
    ("OK?callback=x", b"", JSON, 422),
    ("OK?%ff=x", b"", JSON, 400),
]


@pytest.mark.parametrize(("query", "body", "headers", "status"), BAD)
def test_a_bad_body_or_header_is_refused_at_once(
    server: Server, query: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    if query.startswith("OK"):
        body = httpx.Request("POST", "http://x", json=ROW).content

    answer = server.client.post("/jobs" + query.removeprefix("OK"), content=body, headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


def test_problems_are_those_of_predict(server: Server) -> None:
    body = [ROW, {**ROW, "stops": "many"}]

    assert server.client.post("/jobs", json=body).json() == server.predict(body).json()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/jobs/job-none", 404),
        ("GET", "/jobs/%00", 404),
        ("GET", "/jobs/job-none/result", 404),
        ("DELETE", "/jobs/job-none", 404),
        ("POST", "/jobs/job-none/retry", 404),
        ("PUT", "/jobs/job-none", 405),
        ("DELETE", "/jobs", 405),
        ("GET", "/jobs?state=lost", 422),
        ("GET", "/jobs?limit=0", 422),
        ("GET", "/jobs?limit=nan", 422),
        ("GET", "/jobs?limit=1e9", 422),
        ("GET", "/jobs?colour=red", 422),
        ("GET", "/jobs/job-none?wait=-1", 422),
        ("GET", "/jobs/job-none?wait=soon", 422),
        ("GET", "/jobs/job-none?wait=31", 422),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(server: Server, method: str, path: str, status: int) -> None:
    assert server.client.request(method, path).status_code == status


def test_the_same_key_gives_the_same_job_however_many_send_it(server: Server) -> None:
    def sent(_: int) -> httpx.Response:
        return httpx.post(f"{server.url}/jobs", json=ROW, headers={"idempotency-key": "once"}, timeout=20)

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(sent, range(16)))
    other = server.client.post("/jobs", json={**ROW, "stops": 1}, headers={"idempotency-key": "once"})

    assert len({each.json()["id"] for each in seen}) == 1
    assert sum("idempotency-replayed" not in each.headers for each in seen) == 1
    assert other.status_code == 422


def test_jobs_are_listed_newest_first_by_pages(server: Server) -> None:
    names = [take(server, ROW)["id"] for _ in range(5)]
    for name in names:
        ended(server, name)

    first = server.client.get("/jobs", params={"limit": 3, "state": "done"}).json()
    second = server.client.get("/jobs", params={"limit": 2, "before": first["before"]}).json()

    assert [each["id"] for each in first["jobs"] + second["jobs"]] == names[::-1]


def test_jobs_stand_in_the_metrics(server: Server) -> None:
    ended(server, take(server, ROW)["id"])

    seen = server.client.get("/metrics").text

    counts = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in seen.splitlines() if "jobs_" in line[:20]}
    assert counts["drivetrain_jobs_done_total"] == counts["drivetrain_jobs_taken_total"] > 0
    assert counts["drivetrain_jobs_queued"] == counts["drivetrain_jobs_failed_total"] == 0


def test_without_room_in_the_queue_a_job_is_refused_and_what_waits_can_be_cancelled(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store, MAX_WAITING="2", JOB_SHARE="0") as running:
        names = [take(running, ROW)["id"] for _ in range(2)]

        full = running.client.post("/jobs", json=ROW)
        early = running.client.get(f"/jobs/{names[0]}/result")
        cancelled = running.client.delete(f"/jobs/{names[0]}").json()
        again = running.client.delete(f"/jobs/{names[0]}").json()
        waited = time.monotonic()
        asked = running.client.get(f"/jobs/{names[1]}", params={"wait": 0.5}).json()

        assert full.status_code == 429
        assert int(full.headers["retry-after"]) > 0
        assert early.status_code == 409
        assert cancelled["state"] == again["state"] == "cancelled"
        assert asked["state"] == "queued"
        assert time.monotonic() - waited >= 0.5
        assert running.client.post(f"/jobs/{names[1]}/retry").status_code == 409
        assert running.client.post(f"/jobs/{names[0]}/retry").json()["state"] == "queued"


def test_what_is_acknowledged_outlives_the_server_and_keeps_its_version(store: Store) -> None:
    promote(store, register(store, 1))
    with served(store, JOB_SHARE="0") as running:
        names = [take(running, [ROW] * 3)["id"] for _ in range(3)]
        os.kill(running.pids()[0], signal.SIGKILL)
        running.process.kill()
    promote(store, register(store, 2))

    with served(store) as running:
        seen = [ended(running, name) for name in names]

    assert {(each["state"], each["version"], each["attempts"]) for each in seen} == {("done", f"{MODEL}@1", 1)}


def test_one_arm_answers_all_rows_of_a_job(store: Store) -> None:
    champion, challenger = register(store, 1), register(store, 2)
    promote(store, champion)
    try_out(store, champion, challenger, 0.5)
    with served(store) as running:
        names = [take(running, [{**ROW, "ticket": f"{number}"} for number in range(20)])["id"] for _ in range(12)]
        for name in names:
            ended(running, name)
        found = [running.client.get(f"/jobs/{name}/result").json()["predictions"] for name in names]

    versions = [{each["version"] for each in result} for result in found]
    assert all(len(each) == 1 for each in versions)
    assert set.union(*versions) == {champion.id, challenger.id}
    assert set(logged(store)["arm"]) == {"champion", "canary"}


def test_what_has_ended_is_cleaned_when_its_time_is_over(store: Store) -> None:
    promote(store, register(store, 1))
    before = set(store.artifacts)
    with served(store, KEEP="1s") as running:
        name = take(running, ROW)["id"]
        ended(running, name)
        kept = set(store.artifacts) - before
        wait_until(lambda: running.client.get(f"/jobs/{name}").status_code == 404, 20)

    assert len(kept) == 3
    assert len(set(store.artifacts) - before) == 1  # the sealed log stays


def test_online_requests_go_first_and_jobs_keep_to_their_share(store: Store) -> None:
    promote(store, register(store, 1, is_fast=False))
    with served(store, JOB_SHARE="0.2") as running:
        began = time.monotonic()
        names = [take(running, [ROW] * 700)["id"] for _ in range(5)]
        for name in names:
            assert running.predict(ROW).status_code == 200
            ended(running, name)
        took_s = time.monotonic() - began
        seen = running.client.get("/metrics").text

    busy = float(next(line for line in seen.splitlines() if "jobs_busy_seconds_total{" in line).rsplit(" ", 1)[1])
    assert 0 < busy / took_s <= 0.25

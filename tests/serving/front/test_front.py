"""Several services on one server: each below its name, and what is asked of all together."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest
from tests.serving.front.conftest import FLIGHT, HOUSE, Many, serving
from tests.serving.project import Project
from tests.serving.test_client import loaded
from tests.serving.test_openapi import SCHEMATHESIS, made_up
from tests.serving.world import free_port

if TYPE_CHECKING:
    from pathlib import Path

SHOUTING = """
import drivetrain as dt


@dt.predictor
class Shout:
    def predict(self, text: str) -> str:
        return text.upper()


gate = dt.Gate(Shout)
shouting = dt.Service(Shout)
"""
NAMES = ["arrivals", "prices", "telling", "advising"]


def test_each_service_answers_below_its_name_and_keeps_its_own_log(many: Many) -> None:
    late, price = many.ask("/arrivals/predict", FLIGHT), many.ask("/prices/predict", HOUSE)

    assert late["version"] == "lateness@1"
    assert late["prediction"] > 0.5
    assert price["version"] == "worth@1"
    assert price["prediction"] == pytest.approx(110)
    for service, answer, row in (("arrivals", late, FLIGHT), ("prices", price, HOUSE)):
        (found,) = many.project.logged(service).filter(id=answer["id"]).iter_rows(named=True)
        assert found["request"] == row
    assert many.ask("/prices/feedback", {"id": price["id"], "label": 100.0}) == {"accepted": 1}


def test_the_limits_of_a_service_are_its_own(many: Many) -> None:
    flights = [FLIGHT] * 4

    assert many.client.post("/prices/predict", json=[HOUSE] * 4).status_code == 413
    assert len(many.ask("/arrivals/predict", flights)["predictions"]) == 4
    assert many.client.post("/arrivals/predict", json=flights * 40).status_code == 413
    assert many.client.post("/prices/predict", json=[{**HOUSE, "rooms": "x" * 3000}]).status_code == 422


def test_a_cache_is_that_of_its_service(many: Many) -> None:
    row = {"miles": 123.0, "wind": 4.5}
    told = [many.client.post("/arrivals/predict", json=row).headers["cache-status"] for _ in range(2)]

    assert ["hit" in each for each in told] == [False, True]
    assert "cache-status" not in many.client.post("/prices/predict", json=HOUSE).headers


@pytest.mark.parametrize("path", ["/arivals/predict", "/predict", "/jobs", "/arrivalspredict", "/nothing/", "/x/y/z"])
def test_what_no_service_has_is_told_with_those_there_are(many: Many, path: str) -> None:
    told = many.client.post(path, json=FLIGHT)

    assert told.status_code == 404
    assert f"nothing at {path}" in told.json()["error"]
    assert ", ".join(NAMES) in told.json()["error"]
    assert "/arrivals/predict" in told.json()["error"]


def test_what_is_wrong_below_a_name_is_told_by_its_service(many: Many) -> None:
    assert "did you mean /predict" in many.client.get("/arrivals/predct").json()["error"]
    assert many.client.get("/arrivals/predict").status_code == 405
    assert many.client.post("/metrics").status_code == 405
    assert many.client.post("/arrivals").headers["allow"] == "GET"
    assert {each["field"] for each in many.client.post("/arrivals/predict", json=HOUSE).json()["problems"]} == {
        "miles",
        "wind",
        "rooms",
        "age",
    }


def test_the_page_of_the_server_leads_to_those_of_the_services_and_they_to_what_is_below(many: Many) -> None:
    listed = many.client.get("/")
    assert listed.headers["content-type"].startswith("text/html")
    assert re.findall('href="([a-z]+)/"', listed.text) == NAMES
    assert "<b>worth@1</b> answers" in listed.text
    assert "all ready" in listed.text

    for path in ("/prices", "/prices/", "/prices/docs"):
        page = many.client.get(path, follow_redirects=True)
        assert page.status_code == 200
        links = re.findall('href="([^"]+)"', page.text.partition("<nav>")[2])
        assert links == ["../", "openapi.json", "metrics", "readyz", "version"]
        for link in links:  # as a browser follows it
            assert many.client.get(str(page.url.join(link))).status_code == 200
        assert page.url.join("..").path == "/"
    assert many.client.get("/prices").headers["location"] == "prices/"


def test_readiness_is_that_of_all_and_of_each(many: Many) -> None:
    told = many.client.get("/readyz").json()

    assert told["status"] == "ready"
    assert list(told["services"]) == NAMES
    assert told["services"]["prices"]["versions"] == {"champion": "worth@1"}
    assert told["services"]["advising"]["calls"] == {"arrivals": {"champion": "lateness@1"}}
    assert many.client.get("/prices/readyz").json() == told["services"]["prices"]
    assert many.client.get("/healthz").json() == many.client.get("/telling/healthz").json() == {"status": "alive"}


def test_a_called_service_that_answers_here_as_well_is_loaded_once(many: Many) -> None:
    before = _samples(many, "rows")[("arrivals",)]

    assert many.ask("/advising/predict", {"miles": 77.0, "wind": 39.0})["prediction"] == "wait"

    assert _samples(many, "rows")[("arrivals",)] == before + 1
    # Each copy would be a worker of its own there, and each load a swap.
    assert _samples(many, "workers")[("arrivals",)] == 1
    assert _samples(many, "swaps")[("arrivals",)] == 1


def _samples(many: Many, family: str, path: str = "/metrics") -> dict[tuple[str, ...], float]:
    """Return the value of a family for each service, as the client of Prometheus reads it; the sum of its samples."""
    parser = pytest.importorskip("prometheus_client.parser", reason="needs prometheus-client")
    families = list(parser.text_string_to_metric_families(many.client.get(path).text))
    names = [each.name for each in families]
    assert len(names) == len(set(names)), names
    (found,) = [each for each in families if each.name == f"drivetrain_{family}"]
    sums: dict[tuple[str, ...], float] = {}
    for sample in found.samples:
        if not sample.name.endswith("_created"):
            sums[(sample.labels["service"],)] = sums.get((sample.labels["service"],), 0.0) + sample.value
    return sums


def test_the_metrics_of_all_stand_in_one_text_each_family_once(many: Many) -> None:
    before = _samples(many, "requests")
    many.ask("/prices/predict", HOUSE)
    many.client.post("/prices/predict", json={})
    many.client.get("/nothing")
    after = _samples(many, "requests")

    assert sorted(before) == sorted((name,) for name in NAMES)
    assert {name: after[name] - before[name] for name in before if after[name] != before[name]} == {("prices",): 2.0}
    assert sorted(_samples(many, "jobs_taken")) == sorted((name,) for name in NAMES)
    assert list(_samples(many, "requests", "/prices/metrics")) == [("prices",)]
    assert sorted(_samples(many, "rows", "/advising/metrics")) == [("advising",), ("arrivals",)]


@pytest.mark.parametrize("service", NAMES)
def test_a_description_is_valid_and_says_below_which_path_it_holds(many: Many, service: str) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="needs openapi-spec-validator")

    described = many.client.get(f"/{service}/openapi.json").json()

    validator.validate(described)
    assert described["servers"] == [{"url": f"/{service}"}]
    assert described["info"]["title"] == service


@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="needs schemathesis")
def test_requests_that_are_made_up_from_a_description_reach_its_service(many: Many, tmp_path: Path) -> None:
    before = _samples(many, "requests")
    sent = made_up(f"{many.url}/prices", tmp_path, 1, phases="examples")
    after = _samples(many, "requests")

    assert sent >= 20
    assert [name for name in after if after[name] - before[name] >= sent] == [("prices",)]


def test_jobs_are_handed_in_and_fetched_below_the_name(many: Many) -> None:
    taken = many.client.post("/prices/jobs", json=[HOUSE, HOUSE])
    where = taken.headers["location"]
    assert where == f"/prices/jobs/{taken.json()['id']}"

    told = many.client.get(f"{where}?wait=20").json()

    assert told["state"] == "done"
    result = many.client.get(told["result"]).json()
    assert [each["prediction"] for each in result["predictions"]] == pytest.approx([110, 110])
    assert many.client.get("/prices/jobs").json()["jobs"][0]["result"] == told["result"]
    assert many.client.get("/arrivals/jobs").json()["jobs"] == []
    listed = json.loads(many.project.command("jobs", "prices", "--json").stdout)
    assert listed[0]["result"] == told["result"]


def test_events_and_sockets_come_from_below_the_name(many: Many) -> None:
    websockets = pytest.importorskip("websockets.asyncio.client")
    headers = {"accept": "text/event-stream"}
    told = many.client.post("/telling/predict", json={"words": 2}, headers=headers)
    pieces = [line for line in told.text.splitlines() if line.startswith('data: "')]
    assert pieces == ['data: "once"', 'data: "upon"']

    async def talk(path: str) -> list[str]:
        async with websockets.connect(f"{many.url.replace('http', 'ws')}{path}") as socket:
            await socket.send('{"words": 1}')
            return [next(iter(json.loads(await asyncio.wait_for(socket.recv(), 20)))) for _ in range(3)]

    assert asyncio.run(talk("/telling/stream")) == ["start", "piece", "end"]
    for path in ("/stream", "/other/stream", "/telling/other"):
        with pytest.raises(Exception, match="HTTP 404"):
            asyncio.run(talk(path))


def test_the_form_of_mlflow_stands_below_the_name_and_that_of_kserve_v1_goes_by_the_model(many: Many) -> None:
    records = {"dataframe_records": [HOUSE]}

    assert many.ask("/prices/invocations", records)["predictions"] == pytest.approx([110])
    assert many.ask("/v1/models/worth:predict", {"instances": [HOUSE]})["predictions"] == pytest.approx([110])
    assert many.ask("/v1/models/prices:predict", {"instances": [HOUSE]})["predictions"] == pytest.approx([110])
    numbered = many.ask("/v1/models/worth/versions/1:predict", {"instances": [HOUSE]})
    assert numbered["versions"] == ["worth@1"]
    assert many.client.get("/v1/models/lateness").json() == {"name": "lateness", "ready": True}
    assert many.client.get("/v1/models").json() == {"models": ["lateness", "worth", "story", "advice"]}
    unknown = many.client.post("/v1/models/wort:predict", json={"instances": [HOUSE]})
    assert unknown.status_code == 404
    assert "worth of prices" in unknown.json()["error"]


def test_arrow_and_compression_work_below_the_name(many: Many) -> None:
    table = pl.DataFrame([HOUSE] * 3)

    told = many.client.post(
        "/prices/predict",
        content=table.write_csv(),
        headers={"content-type": "text/csv", "accept": "text/csv"},
    )

    assert told.text.count("worth@1") == 3
    metrics = many.client.get("/metrics", headers={"accept-encoding": "gzip"})
    assert metrics.headers["content-encoding"] == "gzip"
    assert "drivetrain_rows_total" in metrics.text
    assert many.client.head("/metrics").text == ""


def test_hosts_and_tokens_are_looked_at_once_for_all(project: Project) -> None:
    with serving(project, "prices", "telling", DRIVETRAIN_SERVE_TOKEN="t0p") as guarded:
        client = guarded.client
        for path in ("/", "/nothing", "/prices/version", "/metrics", "/v2/models/worth", "/v2", "/prices"):
            assert client.get(path).status_code == 401, path
            assert client.get(path, headers={"host": "evil.example"}).status_code == 421, path
        health = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
        below = (
            "/prices/healthz",
            "/telling/readyz",
            "/prices/v2/health/live",
            "/telling/v2/health/ready",
            "/prices/ping",
        )
        for path in (*health, *below):
            assert client.get(path).status_code == 200, path
        assert client.post("/prices/predict", json=HOUSE).status_code == 401
        assert client.post("/v1/chat/completions", json={"model": "worth"}).status_code == 401
        client.headers["authorization"] = "Bearer t0p"
        assert guarded.ask("/prices/predict", HOUSE)["version"] == "worth@1"
        assert client.get("/").status_code == 200
        assert client.get("/nothing").status_code == 404


def test_a_typed_client_and_the_load_tool_aim_below_a_name(many: Many, tmp_path: Path) -> None:
    done = many.project.command("client", "--url", f"{many.url}/prices", "--output", str(tmp_path / "written.py"))
    assert done.returncode == 0, done.stderr
    module = loaded((tmp_path / "written.py").read_text(), tmp_path)
    with module.Client(f"{many.url}/prices", signature="refuse") as client:
        answers = client.predict_many([module.Row(**HOUSE)] * 4)
        assert [each.prediction for each in answers] == pytest.approx([110] * 4)
        assert client.feedback(module.Label(id=answers[0].id, label=1.0)) == 1
    at_the_root = many.project.command("client", "--url", many.url)
    assert at_the_root.returncode == 2
    assert "http://HOST:PORT/SERVICE" in at_the_root.stderr
    proto = many.project.command("client", "--proto", "--url", f"{many.url}/prices", "--output", str(tmp_path / "p"))
    assert proto.returncode == 0
    assert "package drivetrain.prices;" in (tmp_path / "p").read_text()

    short = ("--seconds", "0.5", "--warm-up", "0", "--connections", "2")
    asked = many.project.command("load", "--url", f"{many.url}/prices/predict", *short, "--json")
    assert set(json.loads(asked.stdout)["report"]["outcomes"]) == {"200"}
    nothing = many.project.command("load", "--url", f"{many.url}/price/predict", "--seconds", "1")
    assert nothing.returncode == 2
    assert "/price/openapi.json answers 404" in nothing.stderr


def test_a_called_service_may_stand_below_a_name_elsewhere(many: Many, project: Project) -> None:
    before = _samples(many, "rows")[("arrivals",)]
    with project.served("advising", DRIVETRAIN_SERVE_ADDRESSES=f"arrivals={many.url}/arrivals") as address:
        assert address.predict({"miles": 5.0, "wind": 1.0})["prediction"] == "go"

    assert _samples(many, "rows")[("arrivals",)] == before + 1


def test_two_services_of_one_model_go_by_their_own_names(project: Project) -> None:
    with serving(project, "prices", "bulk") as both:
        path = "/v1/models/{}:predict"
        rows: dict[str, Any] = {"instances": [HOUSE] * 4}

        unsure = both.client.post(path.format("worth"), json=rows)

        assert unsure.status_code == 409
        assert "say prices or bulk instead" in unsure.json()["error"]
        assert both.client.post(path.format("prices"), json=rows).status_code == 413
        assert len(both.ask(path.format("bulk"), rows)["predictions"]) == 4


def test_all_is_also_one_and_then_below_its_name(tmp_path: Path) -> None:
    project = Project(tmp_path, SHOUTING)
    project.run()
    with project.served("--all") as address:
        assert address.client.post("/shouting/predict", json={"text": "hi"}).json()["prediction"] == "HI"
        assert address.client.post("/predict", json={"text": "hi"}).status_code == 404


def test_what_a_server_of_several_says_and_what_is_refused(project: Project) -> None:
    command = [sys.executable, "-m", "drivetrain", "serve", "prices", "advising", "--port"]
    with httpx.Client() as client:
        port = free_port()
        process = subprocess.Popen([*command, str(port)], cwd=project.folder, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            said = [process.stderr.readline().rstrip() for _ in range(4)]
            assert client.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        finally:
            process.terminate()
            process.communicate(timeout=30)
    url = f"http://127.0.0.1:{port}"
    assert said == [
        f"prices answers at {url}/prices  (its page: {url}/prices/docs)",
        f"advising answers at {url}/advising  (its page: {url}/advising/docs)",
        f"{url} lists them; Ctrl-C ends it",
        "advising calls arrivals, which answers beside it",
    ]

    for words, reason in {
        ("--all", "prices"): "leave out the names",
        (): "name one or more of arrivals, prices, telling, advising, bulk, or take --all",
        ("prices", "tellin"): "did you mean telling?",
        ("prices", "telling", "--explain-speed"): "one service at a time",
    }.items():
        done = project.command("serve", *words)
        assert done.returncode == 2, words
        assert reason in done.stderr, words

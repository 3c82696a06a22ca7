"""A server of several services over time: what is not ready, what changes, and workers that die."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, ClassVar

import msgspec
from tests.serving.front.conftest import FLIGHT, HOUSE, SYSTEM, serving, tables
from tests.serving.project import Project
from tests.serving.world import wait_until

from drivetrain.serving.counters import totals

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving.front.conftest import Many


def test_what_is_not_ready_is_named_and_the_others_answer_and_each_is_swapped_alone(tmp_path: Path) -> None:
    tables(tmp_path)
    without = SYSTEM.replace('    dt.Gate(worth, name="gate_worth", require=[error.mae >= 0]),\n', "")
    assert without != SYSTEM
    project = Project(tmp_path, without)
    project.run()
    with project.served("arrivals", "prices", ready=False) as address:
        client = address.client
        wait_until(lambda: client.get("/arrivals/readyz").status_code == 200)

        told = client.get("/readyz")
        assert told.status_code == 503
        assert told.json()["waiting"] == ["prices"]
        assert told.json()["problems"] == ["prices: worth has no champion yet"]
        assert client.get("/v2/health/ready").status_code == 503
        assert "prices cannot answer" in client.get("/v2/health/ready").json()["error"]
        assert "1 not ready" in client.get("/").text
        assert client.post("/prices/predict", json=HOUSE).status_code == 503
        assert client.post("/arrivals/predict", json=FLIGHT).status_code == 200
        assert client.get("/v2/models/stats").json()["model_stats"][0]["name"] == "lateness"
        index = client.post("/v2/repository/index", content=b"").json()
        assert [each["name"] for each in index] == ["lateness"]

        project.write("system.py", SYSTEM)
        project.run()
        wait_until(lambda: client.get("/readyz").status_code == 200, 20)
        assert client.post("/prices/predict", json=HOUSE).json()["version"] == "worth@1"

        project.write("system.py", SYSTEM.replace("scale: float = 1.0", "scale: float = 2.0"))
        project.run()
        wait_until(lambda: client.get("/prices/readyz").json()["versions"] == {"champion": "worth@2"}, 20)
        assert client.post("/prices/predict", json=HOUSE).json()["prediction"] > 200
        assert client.post("/arrivals/predict", json=FLIGHT).json()["version"] == "lateness@1"


def _pids(many: Many, service: str) -> list[int]:
    return sorted(totals(many.project.folder / ".drivetrain" / "serving" / service).pids)


def test_a_worker_that_is_killed_is_replaced_for_every_service(project: Project) -> None:
    with serving(project, "prices", "arrivals", "--workers", "2") as many:
        wait_until(lambda: len(_pids(many, "prices")) == len(_pids(many, "arrivals")) == 2, 20)
        before = _pids(many, "prices")
        assert _pids(many, "arrivals") == before  # the same processes answer for both

        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: before[0] not in _pids(many, "prices") and len(_pids(many, "prices")) == 2, 30)
        wait_until(lambda: _pids(many, "arrivals") == _pids(many, "prices"), 10)

        def ask(number: int) -> str:
            name, row = (("prices", HOUSE), ("arrivals", FLIGHT))[number % 2]
            return str(many.ask(f"/{name}/predict", row, headers={"connection": "close"})["version"])

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(ask, range(60)))
        assert sorted(set(found)) == ["lateness@1", "worth@1"]
        ready = [line for line in many.client.get("/metrics").text.splitlines() if "_workers_ready{" in line]
        assert sorted(ready) == [f'drivetrain_workers_ready{{service="{each}"}} 2' for each in ("arrivals", "prices")]


def test_a_canary_of_one_service_is_tried_below_its_name_and_by_those_that_call_it(tmp_path: Path) -> None:
    tables(tmp_path)
    tried = SYSTEM.replace('cache=dt.Cache(keep="5m")', "canary=dt.Canary(share=0.5)")
    assert tried != SYSTEM
    project = Project(tmp_path, tried)
    project.run()
    with serving(project, "--all") as many:
        done = project.command("run", "--set", "lateness.c=0.5")
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(lambda: "canary" in many.client.get("/arrivals/readyz").json()["versions"], 20)

        flights = many.ask("/arrivals/predict", [FLIGHT] * 10)["predictions"] + [
            many.ask("/arrivals/predict", FLIGHT) for _ in range(50)
        ]
        advised = {many.ask("/advising/predict", FLIGHT)["id"] for _ in range(50)}

        assert {each["version"] for each in flights} == {"lateness@1", "lateness@2"}
        lines = project.logged("advising").iter_rows(named=True)
        called = [call["version"] for line in lines if line["id"] in advised for call in line["calls"]]
        assert set(called) == {"lateness@1", "lateness@2"}
        ready = many.client.get("/readyz").json()["services"]
        assert ready["arrivals"]["versions"] == {"champion": "lateness@1", "canary": "lateness@2"}
        assert ready["prices"]["versions"] == {"champion": "worth@1"}
        rows = {
            line.partition(" ")[0]: float(line.partition(" ")[2])
            for line in many.client.get("/metrics").text.splitlines()
            if line.startswith("drivetrain_rows_total")
        }
        assert rows['drivetrain_rows_total{service="arrivals",arm="canary"}'] > 0
        assert rows['drivetrain_rows_total{service="prices",arm="canary"}'] == 0

        assert project.command("promote", "lateness@2").returncode == 0
        wait_until(lambda: many.client.get("/arrivals/readyz").json()["versions"] == {"champion": "lateness@2"}, 20)
        assert {many.ask("/arrivals/predict", FLIGHT)["version"] for _ in range(20)} == {"lateness@2"}


class _Ear(BaseHTTPRequestHandler):
    heard: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.heard.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_who_is_called_back_is_told_where_the_result_of_that_service_is(project: Project) -> None:
    _Ear.heard.clear()
    ear = HTTPServer(("127.0.0.1", 0), _Ear)
    thread = threading.Thread(target=ear.serve_forever)
    thread.start()
    allowed = {"DRIVETRAIN_SERVE_CALLBACK_HOSTS": "127.0.0.1", "DRIVETRAIN_SERVE_CALLBACK_SECRET": "s"}
    try:
        with serving(project, "arrivals", "prices", **allowed) as many:
            where = f"?callback_url=http://127.0.0.1:{ear.server_port}/done"
            jobs = {
                service: many.ask(f"/{service}/jobs{where}", row)["id"]
                for service, row in (("prices", HOUSE), ("arrivals", FLIGHT))
            }
            wait_until(lambda: len(_Ear.heard) == 2, 20)
            told = {each["id"]: each for each in map(msgspec.json.decode, _Ear.heard)}

            for service, job in jobs.items():
                assert told[job]["state"] == "done"
                assert told[job]["result"] == f"/{service}/jobs/{job}/result"
                assert many.client.get(told[job]["result"]).json()["version"] == told[job]["version"]
    finally:
        ear.shutdown()
        thread.join()
        ear.server_close()

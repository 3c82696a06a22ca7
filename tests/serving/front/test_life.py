"""A server of several services over time: what is not ready, what changes, and workers that die."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

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

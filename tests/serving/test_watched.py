"""What the monitor says of models that answer with values: it counts all, and judges only what can be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.serving.project import Project

from drivetrain.monitoring.window import Alert, Window
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = """
import drivetrain as dt


@dt.predictor
class Price:
    def predict(self, area: float) -> float:
        return 2.0 * area


@dt.predictor
class Words:
    def predict(self, text: str) -> list[str]:
        return text.split()


gates = [dt.Gate(Price, name="g1"), dt.Gate(Words, name="g2")]
pricing, wording = dt.Service(Price), dt.Service(Words)
watch_price = dt.Monitor(pricing, window="1h", min_rows=5, quality=1.25)
watch_words = dt.Monitor(wording, window="1h", min_rows=5)
"""


def test_a_number_is_judged_by_its_labels_and_a_text_is_only_counted(tmp_path: Path) -> None:
    project = Project(tmp_path, SYSTEM)
    project.run()
    with project.served("pricing") as address:
        ids = [address.predict({"area": float(number)})["id"] for number in range(8)]
        labels = [{"id": each, "label": 2.0 * number + 1} for number, each in enumerate(ids)]
        assert address.client.post("/feedback", json=labels).json() == {"accepted": 8}
        assert address.client.post("/feedback", json={"id": ids[0], "label": "x"}).status_code == 422
    with project.served("wording") as address:
        told = address.predict({"text": "a b c"})
        assert told["prediction"] == ["a", "b", "c"]
        assert address.client.post("/feedback", json={"id": told["id"], "label": "good"}).json() == {"accepted": 1}

    done = project.command("monitor", "--once")

    assert done.returncode == 0, done.stdout + done.stderr
    store = Store.open(project.folder / ".drivetrain")
    windows = {each.monitor: each for each in store.ledger.find(Window)}
    alerts = store.ledger.find(Alert)
    store.close()
    assert windows["watch_price"].rows == 8
    assert windows["watch_price"].quality["mae"] == 1.0
    assert windows["watch_words"].rows == 1
    assert windows["watch_words"].quality == {}
    assert windows["watch_words"].mean_prediction is None
    assert not alerts

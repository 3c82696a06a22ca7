import subprocess
import sys
import time
from datetime import timedelta

import pytest
from tests.project import Project

from drivetrain.monitoring.retraining import Present, Retraining
from drivetrain.pipeline.run import Run
from drivetrain.pipeline.runner import Runner, born, host
from drivetrain.security.event import Event, record_event
from drivetrain.store.record import now
from drivetrain.store.store import Store
from drivetrain.system.load import load_system
from drivetrain.system.settings import find_project

SYSTEM = """
import drivetrain as dt


@dt.step
def made(until: str = "", fails: bool = False) -> dict:
    if fails:
        raise ValueError("the source is down")
    return {"until": until}


retrain = dt.Trigger(dt.cron("CALENDAR"), settings={"made.until": dt.now, "made.fails": FAILS})
"""


def declared(*, fails: bool = False) -> str:
    """Return a system that is due once since an hour ago, and not again for a year: a test never starts two runs."""
    calendar = (now() - timedelta(minutes=30)).strftime("%-M %-H %-d %-m *")
    return SYSTEM.replace("CALENDAR", calendar).replace("FAILS", str(fails))


class Place:
    """A project whose calendar is due: its first run was an hour ago."""

    def __init__(self, project: Project, *, fails: bool = False, more: str = "") -> None:
        self.path = project.write(declared(fails=fails) + more)
        self.project = find_project(project.root)
        self.store: Store = project.store()
        self.system = load_system(self.path)
        earlier = Run(id="run-0", system=self.system.name, state="finished", started_at=now() - timedelta(hours=1))
        self.store.ledger.write(earlier)

    def retraining(self) -> Retraining:
        return Retraining(
            self.project, self.system, self.store, present=lambda trigger: Present(now(), is_of_data=False)
        )

    def triggered(self) -> list[Event]:
        return self.store.ledger.find(Event, {"kind": "run.triggered"})

    def runs(self) -> list[Run]:
        return self.store.ledger.find(Run, {"id !=": "run-0"})

    def until_ended(self, retraining: Retraining) -> None:
        deadline = time.monotonic() + 30
        while not self.runs() or self.runs()[-1].state == "running":
            retraining.tick()
            assert time.monotonic() < deadline, (self.store.root / "logs" / "run.log").read_text()
            time.sleep(0.05)
        if retraining._process is not None:
            retraining._process.wait(20)
        retraining.tick()
        assert retraining._process is None, "one run was due, and a second one began"


def test_a_calendar_starts_one_run_with_the_present_as_a_setting(project: Project) -> None:
    place = Place(project)
    retraining = place.retraining()

    place.until_ended(retraining)

    (run,), (event,) = place.runs(), place.triggered()
    assert run.state == "finished"
    (trigger,) = place.system.of_role("trigger")
    assert run.reason == event.evidence["reason"] == f"the calendar {trigger.calendars[0]}"
    assert run.settings["made"]["until"] == event.evidence["settings"]["made.until"]
    assert event.message.startswith("retrain starts a run with made.until = 20")


def test_a_run_that_fails_is_told_and_not_started_again_at_once(project: Project) -> None:
    place = Place(project, fails=True)
    retraining = place.retraining()

    place.until_ended(retraining)
    for _ in range(3):
        retraining.tick()
    place.retraining().tick()

    assert [run.state for run in place.runs()] == ["failed"]
    assert len(place.triggered()) == 1
    (event,) = place.store.ledger.find(Event, {"kind": "trigger.failed"})
    assert event.message.startswith("the run that retrain started failed: ")


def test_a_version_that_its_gate_refuses_is_no_failed_run(project: Project) -> None:
    pytest.importorskip("skops")
    refusing = """
import polars as pl
from sklearn.linear_model import Ridge


@dt.dataset(key="id", label="y")
def rows() -> pl.DataFrame:
    return pl.DataFrame({"id": range(40), "x": [float(i % 7) for i in range(40)], "y": [float(i) for i in range(40)]})


train, test = dt.split(rows, test=0.5)


@dt.model
def line(train: pl.DataFrame) -> Ridge:
    return Ridge().fit(*dt.xy(train))


@dt.evaluation
def quality(line: Ridge, test: pl.DataFrame) -> dt.metrics.Regression:
    return dt.metrics.regression(line, test)


gate = dt.Gate(line, require=[quality.mae <= -1])
"""
    place = Place(project, more=refusing)
    retraining = place.retraining()

    place.until_ended(retraining)

    assert [run.state for run in place.runs()] == ["finished"]
    assert place.store.ledger.find(Event, {"kind": "gate.refused"})
    assert not place.store.ledger.find(Event, {"kind": "trigger.failed"})


@pytest.mark.parametrize("came_to_run", [False, True])
def test_a_run_that_was_cut_off_is_taken_up_by_the_next_process(project: Project, came_to_run: bool) -> None:
    place = Place(project)
    evidence = {"reason": "it was due", "settings": {"made.until": "5", "made.fails": False}}
    event = record_event(place.store.ledger, "run.triggered", subject="retrain", message="", evidence=evidence)
    if came_to_run:
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            pass
        run = Run(id="run-1", system="system", state="running", started_at=now(), reason="it was due", pid=gone.pid)
        place.store.ledger.write(run)

    place.until_ended(retraining := place.retraining())
    retraining.stop()

    assert place.runs()[-1].state == "finished"
    assert place.runs()[-1].reason == "it was due"
    assert place.runs()[-1].settings["made"]["until"] == "5"
    assert [each.id for each in place.triggered()] == [event.id]


def test_a_run_that_someone_else_has_started_is_waited_for(project: Project) -> None:
    place = Place(project)
    with subprocess.Popen(["sleep", "30"]) as other:
        mine = Run(id="run-1", system="system", state="running", started_at=now(), pid=other.pid)
        runner = Runner(run="run-1", host=host(), pid=other.pid, born=born(other.pid), beat_at=now())
        place.store.ledger.write(mine, runner)

        place.retraining().tick()
        assert place.triggered() == []

        other.kill()


def test_a_run_ends_with_the_process_that_started_it(project: Project) -> None:
    path = project.write(declared().replace("return {", "import time; time.sleep(60); return {"))
    place_store = project.store()
    place_store.ledger.write(Run(id="run-0", system="system", state="finished", started_at=now() - timedelta(hours=1)))
    retraining = Retraining(
        find_project(project.root),
        load_system(path),
        place_store,
        present=lambda trigger: Present(now(), is_of_data=False),
    )
    retraining.tick()
    deadline = time.monotonic() + 20
    while not place_store.ledger.find(Run, {"state": "running"}):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    retraining.stop()

    assert retraining._process is not None
    assert retraining._process.returncode is not None
    states = [run.state for run in place_store.ledger.find(Run, {"id !=": "run-0"})]
    assert states in (["interrupted"], ["running"])

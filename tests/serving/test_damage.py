"""Each damage says what it affects and what to do."""

import msgspec
from tests.project import Project

from drivetrain.pipeline.run import StepRun
from drivetrain.security.event import Event, record_event
from drivetrain.serving.damage import diagnose
from drivetrain.store.artifact import Artifact
from drivetrain.store.record import now
from drivetrain.store.store import Store


def write_step(store: Store, name: str, *, takes: dict[str, Artifact], gives: Artifact) -> None:
    step = StepRun(
        run="run-1", step=name, role="step", state="finished", key=name, origin="run-1", reason="", started_at=now(),
        inputs=takes, outputs={name: gives},
    )  # fmt: skip
    store.ledger.write(step)


def test_of_a_damaged_artifact_the_step_that_gave_it_runs_again_and_all_that_need_it_are_named(
    project: Project,
) -> None:
    store = project.store()
    rows, total = store.keep([1, 2], part="rows"), store.keep(3, part="total")
    write_step(store, "rows", takes={}, gives=rows)
    write_step(store, "total", takes={"rows": rows}, gives=total)
    assert diagnose(store).findings == []
    store.artifacts.place(rows.digest).unlink()

    (finding,) = diagnose(store).findings

    assert finding.damage.kind == "artifact missing"
    assert sorted(finding.affects) == ["step rows", "step total"]
    assert finding.remedy == "the next run makes it anew: the step rows"


def test_of_a_damaged_row_the_step_runs_again(project: Project) -> None:
    store = project.store()
    write_step(store, "rows", takes={}, gives=store.keep([1, 2], part="rows"))
    store.ledger.query("UPDATE step_run SET seconds = 9")

    (finding,) = diagnose(store).findings

    assert finding.damage.what == "step_run run-1, rows"
    assert "--repair" in finding.remedy
    assert "the step rows" in finding.remedy


def test_an_event_that_somebody_changed_with_a_fitting_sum_breaks_the_chain(project: Project) -> None:
    store = project.store()
    events = [record_event(store.ledger, "run.finished", subject="run-1", message=f"Run {n}.") for n in range(3)]
    assert diagnose(store).findings == []
    store.ledger.write(msgspec.structs.replace(events[1], message="Nothing happened."))

    (finding,) = diagnose(store).findings

    assert finding.damage.kind == "chain broken"
    assert "event 2" in finding.damage.found
    assert len(store.ledger.find(Event)) == 3

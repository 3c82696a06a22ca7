"""Runs are deleted only where nothing that stays needs them."""

from datetime import timedelta

import pytest
from tests.project import Project

from drivetrain.errors import NotFound, Refused
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.retention import Pin, delete_runs, expendable, needs, pin, unpin
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.security.event import Event, broken_link
from drivetrain.store.record import now
from drivetrain.store.store import Store


@pytest.fixture
def store(project: Project) -> Store:
    return project.store()


def write_run(store: Store, name: str, *, age_days: int, origin: str = "", state: str = "finished") -> None:
    """Write a run of one step, whose outcome another run may have given."""
    moment = now() - timedelta(days=age_days)
    run = Run(id=name, system="s", state="running" if state == "running" else "finished", started_at=moment)
    step = StepRun(
        run=name, step="a", role="step", state="cached" if origin else "finished", key=f"key of {origin or name}",
        origin=origin or name, reason=f"not like {origin}", started_at=moment,
    )  # fmt: skip
    store.ledger.write(run, step, Figure(run=name, kind="metric", name="a.loss", step="a", value=1.0))


def delete(store: Store, *names: str) -> list[str]:
    return [run.id for run in delete_runs(store, *names, actor="ada", reason="to see")]


def test_a_run_goes_with_all_that_belongs_to_it_and_the_chain_says_so(store: Store) -> None:
    write_run(store, "run-1", age_days=2)
    write_run(store, "run-2", age_days=1)

    assert delete(store, "run-1") == ["run-1"]

    assert [run.id for run in store.ledger.find(Run)] == ["run-2"]
    assert [step.run for step in store.ledger.find(StepRun)] == ["run-2"]
    assert [figure.run for figure in store.ledger.find(Figure)] == ["run-2"]
    events = store.ledger.find(Event, order="number")
    assert [(event.kind, event.subject, event.actor) for event in events] == [("run.deleted", "run-1", "ada")]
    assert broken_link(events) is None


def test_a_run_whose_outcome_a_later_one_took_stays_unless_both_go(store: Store) -> None:
    write_run(store, "run-1", age_days=2)
    write_run(store, "run-2", age_days=1, origin="run-1")

    with pytest.raises(Refused, match="the step a of run-2 took its outcome from it"):
        delete(store, "run-1")

    assert delete(store, "run-2", "run-1") == ["run-2", "run-1"]
    assert store.ledger.find(Run) == []


def test_a_pinned_run_stays_until_it_is_unpinned(store: Store) -> None:
    write_run(store, "run-1", age_days=99)
    pin(store, "run-1", reason="the audit of 2026", actor="ada")

    with pytest.raises(Refused, match="pinned: the audit of 2026"):
        delete(store, "run-1")
    assert expendable(store, keep=0, older_than=timedelta()) == []
    assert unpin(store, "run-1", actor="ada").reason == "the audit of 2026"

    assert store.ledger.find(Pin) == []
    assert delete(store, "run-1") == ["run-1"]


def test_what_is_not_there_is_named_and_nothing_goes(store: Store) -> None:
    write_run(store, "run-1", age_days=1)

    for ask in (lambda: delete(store, "run-1", "run-9"), lambda: unpin(store, "run-1", actor="ada")):
        with pytest.raises(NotFound):
            ask()
    assert len(store.ledger.find(Run)) == 1


def test_of_each_system_the_newest_are_kept_and_what_they_need(store: Store) -> None:
    write_run(store, "run-1", age_days=9)
    write_run(store, "run-2", age_days=8)
    write_run(store, "run-3", age_days=7, origin="run-2")
    write_run(store, "run-4", age_days=6, origin="run-1")
    write_run(store, "run-5", age_days=5)

    def names(keep: int, days: int = 0) -> list[str]:
        return [run.id for run in expendable(store, keep=keep, older_than=timedelta(days=days))]

    assert names(1) == ["run-4", "run-3", "run-2", "run-1"]
    assert names(2) == ["run-3", "run-2"]
    assert names(2, days=7) == ["run-3", "run-2"]
    assert names(2, days=8) == []
    assert names(9) == []
    assert needs(store).keys() == {"run-1", "run-2"}

from __future__ import annotations

import time
from pathlib import Path

import pytest

import drivetrain as dt
from drivetrain.errors import BadSetting, UsageError
from drivetrain.experiments.query import search
from drivetrain.pipeline.attachment import Attachment
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.store.store import Store


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store.open(tmp_path / ".drivetrain")


def test_a_block_becomes_a_run_that_is_found_by_its_settings(here: Store) -> None:
    for depth in (3, 4):
        with dt.track("fit", {"depth": depth}) as tracked:
            dt.log("loss", 1 / depth)
            tracked.attach("notes", {"depth": depth})

    (run,) = search(here.ledger, "fit.depth = 4 and fit.loss < 0.3").runs
    assert run.state == "finished"
    assert run.settings == {"fit": {"depth": 4}}
    assert len(here.ledger.find(Attachment)) == 2


def test_what_was_logged_before_an_exception_is_kept(here: Store) -> None:
    def fit() -> None:
        with dt.track("fit"):
            dt.log("loss", 0.5)
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError):
        fit()

    (run,) = here.ledger.find(Run)
    (step,) = here.ledger.find(StepRun)
    assert (run.state, run.error, step.state) == ("failed", "RuntimeError: out of luck", "failed")
    assert here.ledger.get(Figure, run.id, "metric", "fit.loss") is not None


def test_a_run_that_takes_longer_is_seen_while_it_goes_on(here: Store) -> None:
    with dt.track("fit", {"depth": 3}):
        patience = time.monotonic() + 20
        while not here.ledger.find(Run) and time.monotonic() < patience:
            time.sleep(0.05)
        (run,) = here.ledger.find(Run)
        assert run.state == "running"
        assert here.ledger.get(Figure, run.id, "setting", "fit.depth") is not None

    assert [run.state for run in here.ledger.find(Run)] == ["finished"]


def test_a_setting_that_cannot_be_written_down_is_refused(here: Store) -> None:
    with pytest.raises(BadSetting, match=r"fit\.model"), dt.track("fit", {"model": object()}):
        pass
    with pytest.raises(UsageError), dt.track(""):
        pass
    assert not here.ledger.find(Run)

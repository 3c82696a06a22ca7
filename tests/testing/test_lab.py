"""The lab: systems run on a store of their own, with what the test gives them, and leave nothing behind."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from tests.testing import ferries, rows

import drivetrain as dt
from drivetrain.errors import (
    CheckFailed,
    FeatureSkew,
    NoCodec,
    NotFound,
    StepFailed,
    StoreError,
    UnknownName,
    UnsafePickle,
    UsageError,
)
from drivetrain.store.record import now
from drivetrain.store.store import Store
from drivetrain.testing import Lab


@pytest.fixture
def stocked(lab: Lab) -> Lab:
    """A lab in which `dt.read` finds the trips."""
    lab.files({"data/trips.parquet": rows.trips()})
    return lab


def test_a_module_runs_from_its_source_to_the_gate(stocked: Lab) -> None:
    result = stocked.run(ferries)
    assert {"trips", "sailing", "lateness", "quality", "gate"} <= result.ran
    assert result.metrics["quality.auc"] > 0.9
    assert result.version.id == "lateness@1"
    assert result.outcome == "promoted"
    again = stocked.run(ferries)
    again.assert_cached()
    assert again.ran == {"gate"}
    assert again.outcome == "unchanged"


def test_a_setting_runs_what_depends_on_it(stocked: Lab) -> None:
    stocked.run(ferries)
    result = stocked.run(ferries, settings={"lateness.c": 0.1}, only="quality")
    result.assert_ran("lateness", because="setting c: 1.0 → 0.1")
    result.assert_cached("trips", "train")
    assert "gate" not in result.states
    assert stocked.run(ferries, force="line", only="line").ran == {"line"}


def test_a_file_runs_and_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "one_step.py"
    file.write_text(
        "import neighbour\nimport drivetrain as dt\n\n\n@dt.step\ndef one() -> int:\n    return neighbour.X\n"
    )
    (tmp_path / "neighbour.py").write_text("X = 1\n")
    before = list(sys.path)
    with Lab() as lab:
        folder = lab.folder
        assert lab.run(file)["one"] == 1
        assert "neighbour" in sys.modules
    assert not folder.exists()
    assert sys.path == before
    assert not {"neighbour", "one_step"} & sys.modules.keys()
    (tmp_path / "neighbour.py").write_text("X = 20\n")
    with Lab() as lab:
        assert lab.run(str(file))["one"] == 20


def test_parts_and_systems_run(lab: Lab) -> None:
    @dt.step
    def one(start: int = 1) -> int:
        return start

    @dt.step
    def two(one: int) -> int:
        return one * 2

    assert lab.run(one, two)["two"] == 2
    result = lab.run(
        *(ferries.trips, ferries.harbours, ferries.sailing, ferries.train, ferries.test),
        *(ferries.lateness, ferries.quality, ferries.gate, ferries.service),
        give={"trips": rows.trips()},
    )
    assert result.client("service").predict({"wind": 50, "harbour": "A"})["prediction"] > 0.5
    assert lab.run(dt.System("numbers", one, two), settings={"one.start": 4}).value("two", int) == 8
    with pytest.raises(UsageError, match="given nothing"):
        lab.run()
    with pytest.raises(UsageError, match="given Step, str"):
        lab.run(one, "two")


def test_two_labs_share_nothing() -> None:
    @dt.step
    def one() -> int:
        return 1

    with Lab() as first, Lab() as second:
        first.run(one)
        second.run(one).assert_ran("one", because="first time")


def test_a_process_of_its_own_works_on_the_labs_store(tmp_path: Path) -> None:
    file = tmp_path / "apart.py"
    file.write_text(
        "import os\nimport drivetrain as dt\n\n\n@dt.step(isolated=True)\ndef pid(shift: int) -> int:\n"
        "    return os.getpid() * 0 + shift\n\n\n@dt.step\ndef shift() -> int:\n    raise ValueError('not asked')\n"
    )
    with Lab() as lab:
        assert lab.run(file, give={"shift": 5})["pid"] == 5
        assert lab.last.step("pid").isolated


# What is given in place of what a part makes.


def test_a_dataset_is_given_and_its_checks_hold(lab: Lab) -> None:
    result = lab.run(ferries, give={"trips": rows.trips(100)}, only="sailing")
    assert result["trips"].height == 100
    assert result["sailing"].columns == ["trip", "wind", "depth", "stormy", "late"]
    with pytest.raises(CheckFailed, match="between"):
        lab.run(ferries, give={"trips": rows.trips().with_columns(wind=pl.lit(99.0))}, only="trips")
    with pytest.raises(StepFailed, match=r"harbours.*no table"):
        lab.run(ferries, give={"harbours": 3}, only="harbours")


def test_what_is_given_counts_in_the_key(lab: Lab) -> None:
    lab.run(ferries, give={"trips": rows.trips(100)}, only="sailing")
    lab.run(ferries, give={"trips": rows.trips(100).lazy()}, only="sailing").assert_cached("trips", "sailing")
    lab.run(ferries, give={"trips": rows.trips(101)}, only="sailing").assert_ran("sailing", because="input trips")


def test_what_only_a_given_part_needed_does_not_run(lab: Lab) -> None:
    sailed = pl.DataFrame({"wind": [1.0, 40.0] * 20, "late": [False, True] * 20})
    result = lab.run(ferries, give={"train": sailed, "test": sailed})
    assert set(result.states) == {"train", "test", "lateness", "quality", "line", "gate"}
    assert result.metrics["quality.auc"] == 1.0
    assert result.client().fields == ["wind"]
    features = lab.run(ferries, give={"sailing": sailed.with_columns(trip=pl.int_range(40))}, only=["quality"])
    assert features.states.keys() == {"sailing", "train", "test", "lateness", "quality"}


def test_a_model_or_its_figures_are_given(stocked: Lab) -> None:
    figures = {"auc": 0.55}
    result = stocked.run(ferries, give={"quality": figures})
    assert result.outcome == "refused"
    assert result.version.metrics == {"quality.auc": 0.55}
    fitted = result["lateness"]
    again = stocked.run(ferries, give={"lateness": fitted})
    assert "fitting" not in again.printed("lateness")
    assert again.metrics["quality.auc"] > 0.9


def test_of_a_step_with_several_outputs_all_are_given(lab: Lab) -> None:
    @dt.step(outputs=["low", "high"])
    def bounds() -> tuple[int, int]:
        return 1, 2

    @dt.step
    def width(low: int, high: int) -> int:
        return high - low

    assert lab.run(bounds, width, give={"low": 5, "high": 9})["width"] == 4
    assert lab.run(bounds, width, give={"bounds": (5, 7)})["width"] == 2
    with pytest.raises(UsageError, match="one for high too"):
        lab.run(bounds, width, give={"low": 5})
    with pytest.raises(UnknownName, match="did you mean width"):
        lab.run(bounds, width, give={"widht": 5})


def test_a_mapped_step_and_an_approval_are_given(lab: Lab) -> None:
    @dt.step(each={"month": ["a", "b"]})
    def rows(month: str) -> int:
        raise ValueError(month)

    @dt.step(each={"row": rows})
    def doubled(row: int) -> int:
        return 2 * row

    sign_off = dt.Approval(doubled, name="sign_off")

    @dt.step(when=sign_off)
    def total(doubled: list[int]) -> int:
        return sum(doubled)

    given = {"rows": [1, 2, 3], "sign_off": True}
    assert lab.run(rows, doubled, sign_off, total, give=given)["total"] == 12
    lab.run(rows, doubled, sign_off, total, give=given | {"sign_off": False}).assert_skipped("total")


class Cautious:
    """A model of a test's own."""

    def predict(self, x: pl.DataFrame) -> list[float]:
        return [0.9] * len(x)


def test_a_model_of_the_tests_own_is_kept_where_pickle_is_allowed() -> None:
    given = {"trips": rows.trips(), "lateness": Cautious(), "quality": {"auc": 0.7}}
    with Lab() as lab, pytest.raises(NoCodec, match="lateness"):
        lab.run(ferries, give=given)
    with Lab(allow_pickle=True) as lab:
        with pytest.warns(UnsafePickle):
            lab.run(ferries, give=given)
        assert lab.last.outcome == "promoted"


def test_a_gate_needs_a_system_in_a_file(lab: Lab) -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "import drivetrain as dt\n@dt.model\ndef m(table: dt.System) -> object: ...\ngate = dt.Gate(m, name='gate')",
        scope,
    )

    @dt.step
    def table() -> pl.DataFrame:
        return rows.trips().select("wind", "late")

    system = dt.System("cells", table, scope["m"], scope["gate"])
    fitted = LogisticRegression().fit(rows.trips().select("wind"), rows.trips()["late"])
    with pytest.raises(UsageError, match="stands in no file"):
        lab.run(system, give={"m": fitted})


def test_nothing_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError("waits for the disk")

    with Lab() as lab:
        monkeypatch.setattr(os, "fsync", refuse)
        lab.run(ferries, only="line")
        assert lab.store.ledger.select("PRAGMA synchronous") == [(0,)]
        with pytest.raises(StoreError, match=r"cannot be (written|used)"):
            Store.open(tmp_path / "store").keep(1, part="line")


def test_giving_leaves_the_system_as_it_is(stocked: Lab) -> None:
    system = stocked.system(ferries)
    needs, parts = dict(system.needs), dict(system.parts)
    stocked.run(system, give={"trips": rows.trips(50), "train": rows.trips(50)}, only="train")
    assert (system.needs, system.parts) == (needs, parts)
    assert stocked.run(system, only="sailing")["trips"].height == 200


def test_features_that_look_at_other_rows_are_found_on_a_small_frame(lab: Lab) -> None:
    @dt.dataset(key="trip", label="late")
    def trips() -> pl.DataFrame:
        raise NotImplementedError

    @dt.features
    def ranked(trips: pl.DataFrame) -> pl.DataFrame:
        return trips.select("trip", rank=pl.col("wind").rank())

    with pytest.raises(FeatureSkew, match="rank"):
        lab.run(trips, ranked, give={"trips": rows.trips(20)})


# What a run finds outside.


def test_files_are_found_in_place_of_those_named(lab: Lab, tmp_path: Path) -> None:
    @dt.dataset
    def sums() -> pl.DataFrame:
        return dt.read("data/sums.csv").collect()

    with pytest.raises(NotFound, match=r"sums.csv"):
        lab.run(sums)
    with Lab() as inner:
        inner.files({"data/sums.csv": pl.DataFrame({"a": [1, 2]})})
        assert inner.run(sums)["sums"]["a"].sum() == 3
        inner.files({"data/sums.csv": b"a\n7\n"})
        inner.run(sums).assert_ran("sums", because="file data/sums.csv")
        mine = tmp_path / "mine.csv"
        mine.write_text("a\n8\n")
        inner.files({"data/sums.csv": mine})
        assert inner.run(sums)["sums"].item() == 8
        with pytest.raises(UsageError, match="given as int"):
            inner.files({"data/sums.csv": 3})
    with pytest.raises(NotFound):
        dt.read("data/sums.csv")


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRY_LINE", "north")
    monkeypatch.delenv("FERRY_TIDE", raising=False)
    with Lab() as lab:
        assert lab.run(ferries, only="line")["line"] == "north"
        lab.environment(FERRY_LINE="south", FERRY_TIDE="low")
        result = lab.run(ferries, only="line")
        result.assert_ran("line", because="FERRY_LINE")
        assert result["line"] == "south"
        lab.environment(FERRY_LINE=None)
        assert lab.run(ferries, only="line")["line"] == "none"
    assert os.environ["FERRY_LINE"] == "north"
    assert "FERRY_TIDE" not in os.environ


def test_time_stands_still_until_it_is_moved() -> None:
    with Lab() as lab:
        lab.files({"data/trips.parquet": rows.trips()})
        clock = lab.time("2026-03-01T06:00")
        first = lab.run(ferries, only="trips")
        assert first.run.started_at.date().isoformat() == "2026-03-01"
        clock.move("11h")
        lab.run(ferries, only="trips").assert_cached("trips")
        clock.move("2h")
        lab.run(ferries, only="trips").assert_ran("trips", because="valid for 12h")
    assert abs((now() - datetime.now(UTC)).total_seconds()) < 60


def test_now_in_settings_is_the_labs_time(lab: Lab) -> None:
    @dt.step
    def day(until: str = "") -> str:
        return until[:10]

    lab.time(datetime(2026, 3, 1, tzinfo=UTC))
    assert lab.run(day, settings={"day.until": dt.now})["day"] == "2026-03-01"


def test_rows_that_are_to_be_fresh_are_by_the_labs_time(lab: Lab) -> None:
    @dt.dataset(checks=[dt.fresh("at", "1d")])
    def readings() -> pl.DataFrame:
        return pl.DataFrame({"at": [datetime(2026, 3, 1)]})  # noqa: DTZ001  # as data often has it

    clock = lab.time("2026-03-01T12:00")
    lab.run(readings)
    clock.move("2d")
    error = lab.assert_fails(readings, step="readings", because="fresh", force="readings")
    assert isinstance(error, CheckFailed)


def test_a_failure_names_the_users_line_and_keeps_what_came_before(lab: Lab) -> None:
    @dt.step
    def fine() -> int:
        return 1

    @dt.step
    def broken(fine: int) -> int:
        raise KeyError("no such tide")

    with pytest.raises(StepFailed, match="no such tide") as caught:
        lab.run(fine, broken)
    assert caught.value.place is not None
    assert Path(caught.value.place.file).name == "test_lab.py"
    assert lab.last.states == {"fine": "finished", "broken": "failed"}
    assert lab.last["fine"] == 1


def test_that_a_run_fails_can_be_asserted(lab: Lab) -> None:
    @dt.step
    def broken(works: bool = False) -> int:
        if works:
            return 1
        raise KeyError("no such tide")

    assert lab.assert_fails(broken, step="broken", because="no such tide").place is not None
    with pytest.raises(AssertionError, match="not because of 'wind'"):
        lab.assert_fails(broken, because="wind")
    with pytest.raises(AssertionError, match="other was to fail, and broken did"):
        lab.assert_fails(broken, step="other")
    with pytest.raises(AssertionError, match="broken was to fail, and nothing did"):
        lab.assert_fails(broken, step="broken", settings={"broken.works": True})

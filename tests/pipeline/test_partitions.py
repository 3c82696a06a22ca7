"""Partitions: items that name themselves, each with files of its own; late ones, changed ones, and backfill."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from tests.pipeline.plain import Plain

import drivetrain as dt
from drivetrain.errors import BadSetting, DeclarationError, UnknownName
from drivetrain.pipeline.plan import make_plan, steps_matching
from drivetrain.pipeline.why import why
from drivetrain.system import periods

LOG = "tests.partitions"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Plain]:
    made = Plain(tmp_path, root=tmp_path / "project")
    yield made
    made.store.close()


@pytest.fixture
def calls(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What ran."""
    caplog.set_level(logging.INFO, LOG)
    return caplog


@pytest.fixture
def folder(lab: Plain, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder, with three months of data."""
    root = lab.root
    monkeypatch.setenv("PARTITIONS", str(root))
    for month in ("2013-01", "2013-02", "2013-03"):
        put(root, month, 2)
    return root


def put(root: Path, month: str, rows: int) -> None:
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "data" / f"{month}.csv").write_text("id\n" + "".join(f"{month}-{row}\n" for row in range(rows)))


def read(month: str) -> pl.DataFrame:
    import os

    logging.getLogger(LOG).info(month)
    return pl.read_csv(Path(os.environ["PARTITIONS"]) / "data" / f"{month}.csv")


@dt.dataset(key="id", each={"month": dt.monthly("2013-01", until="2013-03")}, files=["data/{month}.csv"])
def flights(month: str) -> pl.DataFrame:
    return read(month)


@dt.step(each={"month": flights})
def heights(month: pl.DataFrame) -> int:
    return month.height


@dt.step
def total(heights: list[int]) -> int:
    return sum(heights)


@dt.dataset(key="id", each={"month": dt.monthly("2013-01")}, files=["data/{month}.csv"])
def arriving(month: str) -> pl.DataFrame:
    return read(month)


def test_a_changed_partition_runs_alone_with_what_depends_on_it(
    lab: Plain, folder: Path, calls: pytest.LogCaptureFixture
) -> None:
    lab.run(flights, heights, total)
    assert lab.value("total") == 6
    calls.clear()
    put(folder, "2013-02", 5)
    states = lab.run(flights, heights, total)
    assert calls.messages == ["2013-02"]
    ran = {name for name, state in states.items() if state == "finished"}
    assert ran == {"flights[2013-02]", "flights", "heights[2013-02]", "heights", "total"}
    assert lab.value("total") == 9
    assert set(lab.run(flights, heights, total).values()) == {"cached"}


def test_a_missing_partition_of_a_closed_series_is_refused_before_anything_runs(
    lab: Plain, folder: Path, calls: pytest.LogCaptureFixture
) -> None:
    (folder / "data" / "2013-02.csv").unlink()
    with pytest.raises(DeclarationError, match=r"'flights' declares that it reads 'data/2013-02.csv'"):
        lab.run(flights)
    assert calls.messages == []


def test_a_late_partition_is_left_out_and_said_and_comes_in_later(
    lab: Plain, folder: Path, calls: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(periods, "now", lambda: datetime(2013, 5, 20, tzinfo=UTC))
    states = lab.run(arriving)
    assert sorted(calls.messages) == ["2013-01", "2013-02", "2013-03"]
    assert "arriving[2013-04]" not in states
    assert lab.last is not None
    assert any("2013-04 of 'arriving' has no file yet" in warning for warning in lab.last.warnings)
    assert lab.run(arriving) == {"arriving": "cached"}
    calls.clear()
    put(folder, "2013-04", 1)
    lab.run(arriving)
    assert calls.messages == ["2013-04"]
    assert lab.last.artifacts["arriving"].rows == 7


def test_what_comes_while_items_run_is_not_taken_for_part_of_the_whole(
    lab: Plain, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [datetime(2013, 4, 20, tzinfo=UTC)]
    monkeypatch.setattr(periods, "now", lambda: moment[0])

    @dt.dataset(key="id", each={"month": dt.monthly("2013-01")}, files=["data/{month}.csv"])
    def growing(month: str) -> pl.DataFrame:
        if month == "2013-03":
            put(folder, "2013-04", 1)
            moment[0] = datetime(2013, 5, 20, tzinfo=UTC)
        return read(month)

    lab.run(growing, workers=1)
    assert lab.last is not None
    assert lab.last.artifacts["growing"].rows == 6
    lab.run(growing)
    assert lab.last.artifacts["growing"].rows == 7


@pytest.mark.parametrize(
    ("force", "ran"),
    [
        ("flights[2013-02]", ["2013-02"]),
        ("flights[2013-0[12]]", ["2013-01", "2013-02"]),
        ("flights[2013-*]", ["2013-01", "2013-02", "2013-03"]),
    ],
)
def test_items_of_what_is_known_as_a_whole_are_run_again(
    lab: Plain, folder: Path, calls: pytest.LogCaptureFixture, force: str, ran: list[str]
) -> None:
    lab.run(flights, heights)
    calls.clear()
    plan = make_plan(dt.System("lab", flights, heights))
    states = lab.run(flights, heights, force=frozenset(steps_matching(plan, [force])))
    assert sorted(calls.messages) == ran
    assert states["heights"] == "cached", "the same bytes came out"


def test_an_item_that_is_not_there_cannot_be_forced(lab: Plain, folder: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 2013-03"):
        lab.run(flights, force=frozenset({"flights[2013-33]"}))


def test_why_tells_of_items(lab: Plain, folder: Path) -> None:
    def asked(name: str) -> tuple[str, list[str], dict[str, list[str]]]:
        found = why(name, make_plan(dt.System("lab", flights, heights)), store=lab.store, root=folder)
        return found.verdict, found.reasons, found.items

    assert asked("flights[2013-02]") == ("miss", ["it has never finished"], {})
    lab.run(flights, heights)
    assert asked("flights[2013-02]") == ("hit", ["nothing changed"], {})
    assert asked("flights") == ("hit", ["nothing changed"], {})
    put(folder, "2013-02", 3)
    verdict, _, items = asked("flights")
    assert verdict == "miss"
    assert list(items) == ["2013-02"]
    assert "data/2013-02.csv" in items["2013-02"][0]
    assert "data/2013-02.csv" in asked("flights[2013-02]")[1][0]
    assert asked("flights[2013-03]")[0] == "hit"
    assert asked("heights")[0] == "waits"
    assert asked("heights[2013-02]")[0] == "waits"
    with pytest.raises(UnknownName, match="did you mean"):
        asked("flights[2013-13]")


@pytest.mark.parametrize(
    ("unit", "since", "right"),
    [(dt.monthly, "2013-1", "2013-02"), (dt.daily, "2013-02-30", "2013-02-28"), (dt.weekly, "2013-05", "2013-W05")],
)
def test_what_is_no_period_is_refused(unit: object, since: str, right: str) -> None:
    with pytest.raises(BadSetting, match=right):
        unit(since)  # type: ignore[operator]


def test_the_last_period_is_one_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periods, "now", lambda: datetime(2013, 3, 1, tzinfo=UTC))
    assert dt.monthly("2013-01").now() == ["2013-01", "2013-02"]
    assert dt.daily("2013-02-27").now() == ["2013-02-27", "2013-02-28"]
    assert dt.hourly("2013-02-28T22").now() == ["2013-02-28T22", "2013-02-28T23"]
    assert dt.weekly("2013-W07").now() == ["2013-W07", "2013-W08"]
    assert dt.monthly("2013-03").now() == []


def test_a_file_names_a_parameter_that_is_mapped() -> None:
    @dt.step(each={"month": ["2013-01"]}, files=["data/{mnth}.csv"])
    def step(month: str) -> int:
        return 1

    with pytest.raises(UnknownName, match="did you mean month"):
        dt.System("lab", step)

"""Mapped steps: once for each item, as many as there are, and together again."""

from __future__ import annotations

import logging
from typing import Any

import polars as pl
import pytest

import drivetrain as dt
from drivetrain.errors import DeclarationError, StepFailed, UnknownName
from drivetrain.testing import Lab

LOG = "tests.mapping"


@pytest.fixture
def calls(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What ran. A list of the module would be a constant of it, and count in the keys."""
    caplog.set_level(logging.INFO, LOG)
    return caplog


@dt.step
def months(last: int = 3) -> list[str]:
    return [f"2013-{month:02}" for month in range(1, last + 1)]


@dt.step(each={"month": months})
def rows(month: str) -> pl.DataFrame:
    logging.getLogger(LOG).info(month)
    return pl.DataFrame({"month": [month] * int(month[-2:])})


@dt.step(each={"part": rows})
def heights(part: pl.DataFrame) -> int:
    return part.height


@dt.step
def total(heights: list[int], rows: pl.DataFrame) -> dict[str, int]:
    return {"sum": sum(heights), "rows": rows.height}


def test_each_item_has_a_step_of_its_own_and_they_come_together(lab: Lab) -> None:
    result = lab.run(months, rows, heights, total)
    result.assert_ran("rows[2013-02]")
    assert result["total"] == {"sum": 6, "rows": 6}
    assert result.value("rows", dict[str, pl.DataFrame])["2013-03"].height == 3
    assert result.value("rows", list)[0].height == 1
    assert result.value("rows", pl.LazyFrame).collect().height == 6


def test_a_late_item_runs_alone_and_so_does_what_depends_on_it(lab: Lab, calls: pytest.LogCaptureFixture) -> None:
    lab.run(months, rows, heights, total)
    calls.clear()
    result = lab.run(months, rows, heights, total, settings={"months.last": 4})
    assert calls.messages == ["2013-04"]
    assert result.ran == {"months", "rows[2013-04]", "rows", "heights[2013-04]", "heights", "total"}
    assert result["total"] == {"sum": 10, "rows": 10}


def test_a_mapped_step_that_has_not_changed_is_one_look_up(lab: Lab) -> None:
    lab.run(months, rows, heights, total)
    again = lab.run(months, rows, heights, total)
    assert again.states == dict.fromkeys(("months", "rows", "heights", "total"), "cached")


def test_one_item_can_be_forced(lab: Lab, calls: pytest.LogCaptureFixture) -> None:
    lab.run(months, rows)
    calls.clear()
    lab.run(months, rows, force="rows[2013-02]")
    assert calls.messages == ["2013-02"]
    calls.clear()
    lab.run(months, rows, force="rows")
    assert sorted(calls.messages) == ["2013-01", "2013-02", "2013-03"]


def test_no_items_give_an_empty_list(lab: Lab) -> None:
    result = lab.run(months, rows, heights, settings={"months.last": 0})
    result.assert_ran("heights")
    assert result.value("heights", list[int]) == []


def test_items_may_be_written_down_and_may_be_anything_plain(lab: Lab) -> None:
    @dt.step(each={"window": {"short": {"days": 7}, "long": {"days": 28}}})
    def span(window: dict[str, int]) -> int:
        return window["days"]

    result = lab.run(span)
    assert result.value("span", dict[str, int]) == {"short": 7, "long": 28}
    assert result.ran == {"span", "span[short]", "span[long]"}


def test_two_lists_are_taken_together(lab: Lab) -> None:
    @dt.step(each={"name": ["a", "b"], "times": [1, 2]})
    def word(name: str, times: int) -> str:
        return name * times

    with pytest.raises(StepFailed, match="are not the same"):
        lab.run(word)


def test_equal_items_are_worked_out_once(lab: Lab, calls: pytest.LogCaptureFixture) -> None:
    @dt.step(each={"number": [5, 5, 5]})
    def square(number: int) -> int:
        logging.getLogger(LOG).info("square")
        return number * number

    assert lab.run(square).value("square", list[int]) == [25, 25, 25]
    assert calls.messages == ["square"]


def test_a_failed_item_is_named_and_the_others_are_kept(lab: Lab) -> None:
    @dt.step(each={"number": [1, 0, 2]})
    def inverse(number: int, numerator: float = 1.0) -> float:
        return numerator / number

    with pytest.raises(StepFailed, match=r"inverse\[0\].*ZeroDivisionError"):
        lab.run(inverse, workers=1)


def test_a_mapped_dataset_is_one_dataset_with_all_its_rows(lab: Lab) -> None:
    @dt.dataset(key="id", label="late", each={"month": ["2013-01", "2013-02"]})
    def flights(month: str) -> pl.DataFrame:
        number = int(month[-2:])
        return pl.DataFrame({"id": [number * 10, number * 10 + 1], "late": [True, False]})

    kept = lab.run(flights).step("flights").outputs["flights"]
    assert kept.rows == 4
    assert [column["name"] for column in kept.detail["columns"]] == ["id", "late"]
    assert lab.store.json(kept.detail["profile"])


def test_rows_that_clash_between_partitions_break_the_key(lab: Lab) -> None:
    @dt.dataset(key="id", label="late", each={"month": ["2013-01", "2013-02"]})
    def flights(month: str) -> pl.DataFrame:
        return pl.DataFrame({"id": [1], "late": [month == "2013-01"]})

    with pytest.raises(StepFailed, match="id"):
        lab.run(flights)


@pytest.mark.parametrize("wrong", [3, None, object()])
def test_what_has_no_items_is_refused_where_it_is_declared(wrong: Any) -> None:
    with pytest.raises(DeclarationError, match="each"):

        @dt.step(each={"item": wrong})
        def step(item: int) -> int:
            return item


def test_a_parameter_that_is_not_there_is_refused_with_the_nearest() -> None:
    @dt.step(each={"numer": [1]})
    def square(number: int) -> int:
        return number

    @dt.step
    def number() -> int:
        return 1

    with pytest.raises(UnknownName, match="did you mean number"):
        dt.System("lab", square, number)


def test_a_step_that_gives_no_list_is_named(lab: Lab) -> None:
    @dt.step
    def one() -> int:
        return 1

    @dt.step(each={"item": one})
    def twice(item: int) -> int:
        return 2 * item

    with pytest.raises(StepFailed, match="neither a list nor a dict"):
        lab.run(one, twice)

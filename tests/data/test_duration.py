"""One grammar of lengths of time, wherever one is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.data.duration import duration
from drivetrain.errors import BadSetting


@pytest.mark.parametrize("text", ["", "7", "7 days", "0d", "-7d", "1.5h", "3mo", "d", "1d 12h", "soon", 21, None])
def test_what_is_no_length_of_time_is_refused_with_an_example(text: Any) -> None:
    with pytest.raises(BadSetting, match="window of a monitor") as seen:
        duration(text, "window of a monitor")

    assert "`1d12h`" in seen.value.remedy


@given(pieces=st.lists(st.tuples(st.integers(1, 500), st.sampled_from("smhdw")), min_size=1, max_size=3))
def test_polars_goes_back_as_far_as_we_do(pieces: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in pieces)
    now = datetime(2026, 3, 2, tzinfo=UTC)

    assert pl.Series([now]).dt.offset_by(f"-{text}").item() == now - duration(text)


def test_pieces_add_up() -> None:
    assert duration("1w1d") == timedelta(days=8)

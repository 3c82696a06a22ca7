"""Counters of a service, over workers that come and go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drivetrain.serving.counters import Counters, quantile_s, totals

if TYPE_CHECKING:
    from pathlib import Path


def test_counters_go_on_when_a_worker_takes_the_place_of_another(tmp_path: Path) -> None:
    first, second = Counters(tmp_path), Counters(tmp_path)
    first.add("rows", 5)
    second.add("rows", 2)
    first.answered(200, time.monotonic_ns())
    second.answered(404, time.monotonic_ns())
    before = totals(tmp_path)
    first.close()

    third = Counters(tmp_path)
    third.add("rows", 1)

    assert (first.slot, second.slot, third.slot) == (0, 1, 0)
    assert (before.rows, before.requests, before.workers) == (7, 2, 2)
    assert (totals(tmp_path).rows, totals(tmp_path).workers) == (8, 2)
    assert 0 < quantile_s(before.latency, 0.5) <= 0.00025

from pathlib import Path

import pytest

from drivetrain.monitoring import signals
from drivetrain.monitoring.signals import SignalReader
from drivetrain.serving.counters import Counters
from drivetrain.serving.journal import folder_of
from drivetrain.store.store import Store


def test_signals_are_what_the_counters_gained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path)
    counters = Counters(folder_of(store, "answers"))
    counters.answered(200, 0)
    reader = SignalReader(store, "answers")
    monkeypatch.setattr(signals, "EVERY_S", 0.0)
    from time import monotonic_ns

    for _ in range(3):
        counters.answered(200, monotonic_ns() - 4_000_000)
    counters.answered(500, monotonic_ns() - 4_000_000)
    counters.add("rows", 7)
    counters.add("cache_hits", 2)
    counters.add("cache_collapsed", 1)
    counters.add("cache_misses", 4)
    signal = reader.read()

    assert signal is not None
    assert (signal.requests, signal.errors, signal.rows, signal.workers) == (4, 1, 7, 1)
    assert signal.known == 3
    assert 3 < signal.latency_p50_ms < 5
    assert 0 <= signal.busy_share <= 1
    counters.close()


def test_signals_are_not_taken_more_often_than_every_few_seconds(tmp_path: Path) -> None:
    assert SignalReader(Store.open(tmp_path), "answers").read() is None

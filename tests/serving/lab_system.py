"""Predictors of each kind, for tests in a lab."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import drivetrain as dt


@dt.predictor
class Plain:
    def predict(self, text: list[str]) -> list[str]:
        return [each.upper() for each in text]


@dt.predictor
class Later:
    async def predict(self, number: int) -> int:
        return number + 1


@dt.predictor
class Counting:
    def predict(self, upto: int) -> Iterator[int]:
        yield from range(upto)


@dt.predictor
class CountingLater:
    async def predict(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number


gates = [
    dt.Gate(Plain, name="gate_1"),
    dt.Gate(Later, name="gate_2"),
    dt.Gate(Counting, name="gate_3"),
    dt.Gate(CountingLater, name="gate_4"),
]
plain_service = dt.Service(Plain)
later_service = dt.Service(Later)
counting_service = dt.Service(Counting)
counting_later_service = dt.Service(CountingLater)

"""What is kept of an answer is the answer, to the last bit."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl
from hypothesis import given
from hypothesis import strategies as some

from drivetrain.serving.answers import Answers
from drivetrain.serving.batching import line_for
from drivetrain.serving.cache.entry import answers_of, entries_of

NUMBERS = some.floats(allow_nan=False, allow_infinity=False)
PLAIN = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**63), 2**64 - 1) | NUMBERS | some.text(),
    lambda each: some.lists(each) | some.dictionaries(some.text(), each),
    max_leaves=8,
)


def exact(value: Any) -> str:
    """Return a value in words that tell 1, 1.0 and True apart."""
    return repr(value)


@given(some.lists(PLAIN, min_size=1))
def test_plain_values_come_back_as_they_were(predictions: list[Any]) -> None:
    found = answers_of(entries_of(Answers(predictions, logged=predictions)))

    assert exact(found.predictions) == exact(predictions)
    assert exact(found.logged) == exact(predictions)


@given(some.lists(some.tuples(some.sampled_from(["a", "b"]), some.lists(NUMBERS, min_size=2, max_size=2)), min_size=1))
def test_classes_come_back_with_their_probabilities(rows: list[tuple[str, list[float]]]) -> None:
    predictions, shares = [each for each, _ in rows], [each for _, each in rows]

    found = answers_of(entries_of(Answers(predictions, shares)))

    assert (found.predictions, found.probabilities, found.features) == (predictions, shares, None)


def test_the_line_of_the_log_is_the_same_for_a_known_answer() -> None:
    features = pl.DataFrame({"wind": [1.5, None, float("nan")], "day": ["2026-01-31", None, "x"]})
    features = features.with_columns(day=pl.col("day").str.to_date(strict=False))
    logged = [msgspec.Raw(b'{"digest":"sha256:1"}'), 2, None]
    answers = Answers([[0.5] * 3, 2, None], features=features, logged=logged)

    known = answers_of(entries_of(answers), features.columns)

    lines = [line_for("late@1", "champion", ["a"], None, [], each) for each in (answers, known)]
    first, second = (msgspec.json.encode(msgspec.structs.replace(line, at=0)) for line in lines)
    assert first == second

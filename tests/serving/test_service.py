"""What cannot be said of a service is refused where it is declared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from drivetrain.errors import BadSetting, DeclarationError, UnknownName
from drivetrain.serving.cache.terms import Cache
from drivetrain.serving.service import Canary, Service
from drivetrain.training.custom import predictor
from drivetrain.training.model import model


@model
def late(rows: object) -> dict[str, float]:
    return {}


@model(task="binary")
def surely_late(rows: object) -> dict[str, float]:
    return {}


def test_a_misspelt_metric_of_a_canary_is_told_the_nearest() -> None:
    service = Service(late, canary=Canary(metric="bried"), name="answers")

    with pytest.raises(UnknownName, match="did you mean brier") as seen:
        service.check({})

    assert seen.value.place == service.place
    Service(late, canary=Canary(metric="brier"), name="answers").check({})


def test_a_canary_is_judged_by_a_metric_of_the_models_task() -> None:
    with pytest.raises(UnknownName, match="'mae'"):
        Service(surely_late, canary=Canary(metric="mae"), name="answers").check({})


@pytest.mark.parametrize(
    "options", [{"within": "two weeks"}, {"share": 1.5}, {"at_least": -1}, {"confidence": 95}, {"within": "0d"}]
)
def test_a_canary_that_cannot_be_says_where_it_stands(options: dict[str, Any]) -> None:
    service = Service(late, canary=Canary(**options), name="answers")

    with pytest.raises(BadSetting) as seen:
        service.check({})

    assert seen.value.place == service.place


def test_a_number_is_no_canary() -> None:
    with pytest.raises(DeclarationError, match=r"dt\.Canary"):
        Service(late, canary=0.1, name="answers").check({})  # type: ignore[arg-type]  # the mistake that is tested


@predictor
class Pieces:
    def predict(self, text: str) -> Iterator[str]:
        yield text


@pytest.mark.parametrize(
    "options", [{"keep": "for ever"}, {"keep": "0s"}, {"max_bytes": 1000}, {"max_bytes": -1}, {"keep": "5"}]
)
def test_a_cache_that_cannot_be_says_where_it_stands(options: dict[str, Any]) -> None:
    service = Service(late, cache=Cache(**options), name="answers")

    with pytest.raises(BadSetting, match=r"answers\.cache") as seen:
        service.check({})

    assert seen.value.place == service.place


def test_a_length_of_time_is_no_cache() -> None:
    with pytest.raises(DeclarationError, match=r"dt\.Cache"):
        Service(late, cache="5m", name="answers").check({})  # type: ignore[arg-type]  # the mistake that is tested


def test_answers_in_pieces_are_not_kept() -> None:
    Service(Pieces, name="answers").check({})

    with pytest.raises(DeclarationError, match="in pieces") as seen:
        Service(Pieces, cache=Cache(), name="answers").check({})

    assert "leave out `cache=`" in seen.value.remedy


def test_a_misspelt_word_of_a_cache_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean max_bytes"):
        Cache(max_byte=1)  # type: ignore[call-arg]  # the mistake that is tested

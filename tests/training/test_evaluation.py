import copy
import pickle
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import numpy as np
import pytest
from tests.data.work import Work

from drivetrain.errors import DeclarationError, StepFailed, UnknownMetric, UnknownName
from drivetrain.system.function import step
from drivetrain.training import metrics
from drivetrain.training.evaluation import Condition, Evaluation, Standard, champion, evaluation, reference


@evaluation
def quality(lateness: object) -> metrics.Binary:
    raise NotImplementedError


@evaluation
def loose(lateness: object) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (quality.auc >= 0.65, "quality.auc >= 0.65"),
        (quality.auc > champion, "quality.auc > champion"),
        (quality.brier < champion * 0.98, "quality.brier < 0.98 * champion"),
        (quality.brier <= 1.25 * reference, "quality.brier <= 1.25 * reference"),
        (quality.auc >= champion + 0.01, "quality.auc >= champion + 0.01"),
        (quality.auc >= champion - 0.01, "quality.auc >= champion - 0.01"),
        (loose["rows"] > 100, "loose.rows > 100"),
        (champion < quality.auc, "quality.auc > champion"),
        (0.7 <= quality.auc, "quality.auc >= 0.7"),  # noqa: SIM300  # the number may come first
    ],
)
def test_a_comparison_is_a_condition_that_reads_as_it_is_written(condition: Condition, text: str) -> None:
    assert str(condition) == text
    assert isinstance(condition, Condition)
    assert pickle.loads(pickle.dumps(condition)) == condition
    assert msgspec.convert(msgspec.to_builtins(condition), Condition) == condition


def test_a_condition_is_held_against_its_limit() -> None:
    fixed, relative = quality.auc >= 0.65, quality.auc > 0.9 * champion + 0.05

    assert fixed.limit_from(0.9) == 0.65
    assert fixed.holds(0.65, 0.65)
    assert not fixed.holds(0.6, 0.65)
    assert relative.against_champion
    assert relative.limit_from(0.8) == pytest.approx(0.77)
    assert not relative.holds(0.7, 0.7)
    assert (quality.brier <= 0.2).holds(0.2, 0.2)
    assert not (quality.brier < 0.2).holds(0.2, 0.2)
    assert not any(one.holds(float("nan"), 0.5) for one in (quality.auc > 0.5, quality.auc <= 0.5))


def test_an_unknown_metric_is_answered_with_the_nearest_where_it_is_written() -> None:
    with pytest.raises(UnknownName, match="did you mean auc") as caught:
        quality.auk  # noqa: B018
    assert caught.value.place
    assert caught.value.place.file == __file__
    assert not hasattr(quality, "canary")
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), UnknownMetric)


def test_a_typed_dict_of_ones_own_tells_the_names_too() -> None:
    class Own(TypedDict):
        cost: float

    def judged(lateness: object) -> Any: ...

    judged.__annotations__["return"] = Own

    assert str(Evaluation.of(judged).cost < 3) == "judged.cost < 3"
    with pytest.raises(UnknownName):
        Evaluation.of(judged).costs  # noqa: B018


def test_what_python_and_notebooks_look_for_is_no_metric() -> None:
    assert not hasattr(loose, "__deepcopy__")
    assert not hasattr(loose, "_repr_html_")
    assert copy.copy(loose).name == "loose"
    with pytest.raises(TypeError):
        list(loose)  # type: ignore[call-overload]


@pytest.mark.parametrize("limit", ["0.65", None, True, float("nan")])
def test_only_numbers_and_standards_are_compared(limit: Any) -> None:
    with pytest.raises(DeclarationError, match=r"dt\.champion"):
        quality.auc >= limit  # noqa: B015


def test_a_chain_of_comparisons_is_refused() -> None:
    with pytest.raises(DeclarationError, match="one by one"):
        0.6 <= quality.auc <= 0.9  # noqa: B015


def test_standards_are_plain_values() -> None:
    assert str(0.5 * (champion + 1)) == "0.5 * champion + 0.5"
    assert isinstance(pickle.loads(pickle.dumps(champion)), Standard)


@step
def lateness() -> int:
    return 1


def test_the_figures_are_logged_and_told(tmp_path: Path) -> None:
    @evaluation
    def judged(lateness: int) -> dict[str, Any]:
        return {"auc": np.float32(0.5), "rows": 3, "odd": float("nan"), "curve": [1.0, 2.0], "word": "good"}

    work = Work(tmp_path, lateness, judged)
    work.until("judged")

    assert work.artifact("judged").detail["metrics"] == {"auc": 0.5, "rows": 3.0}
    assert work.points == {"auc": 0.5, "rows": 3.0}


@pytest.mark.parametrize("figures", [{"curve": [1.0]}, {}, 0.7])
def test_figures_without_a_number_are_told(tmp_path: Path, figures: Any) -> None:
    @evaluation
    def judged(lateness: int) -> dict[str, Any]:
        return figures  # type: ignore[no-any-return]

    with pytest.raises(StepFailed, match="no finite number by name"):
        Work(tmp_path, lateness, judged).until("judged")

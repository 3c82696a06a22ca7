"""Arguments that do not fit a declaration are refused at the line that gives them, with what would be right."""

from __future__ import annotations

import pytest
from tests.project import Project

from drivetrain.errors import DeclarationError, UnknownName
from drivetrain.system.load import load_system

HEAD = """import polars as pl

import drivetrain as dt


@dt.dataset(label="late")
def rows() -> pl.DataFrame: ...


@dt.model
def guess(rows: pl.DataFrame) -> object: ...


@dt.evaluation
def quality(guess: object) -> dict[str, float]: ...


service = dt.Service(guess)
watch = dt.Monitor(service)
"""
LINE = HEAD.count("\n") + 1

WRONG_NAMES = {
    "gate = dt.Gate(guess, requires=[])": ("dt.Gate", "requires", "require"),
    "other = dt.Service(modle=guess)": ("dt.Service", "modle", "model"),
    "canary = dt.Canary(shair=0.1)": ("dt.Canary", "shair", "share"),
    "limit = dt.Drift(columms=[])": ("dt.Drift", "columms", "columns"),
    "other = dt.Monitor(service, drfit=0.3)": ("dt.Monitor", "drfit", "drift"),
    "retrain = dt.Trigger(watch.drift, setings={})": ("dt.Trigger", "setings", "settings"),
    "train, test = dt.split(rows, tset=0.2)": ("dt.split", "tset", "test"),
    "@dt.dataset(check=[])\ndef more() -> pl.DataFrame: ...": ("dt.dataset", "check", "checks"),
    "@dt.step(output=['a'])\ndef a() -> int: ...": ("dt.step", "output", "outputs"),
    "@dt.model(tsk='binary')\ndef more(rows: pl.DataFrame) -> object: ...": ("dt.model", "tsk", "task"),
    "check = dt.unique('id', severty='warn')": ("dt.unique", "severty", "severity"),
    "check = dt.not_null('id', severty='warn')": ("dt.not_null", "severty", "severity"),
    "check = dt.between('id', 1, hihg=2)": ("dt.between", "hihg", "high"),
    "check = dt.one_of('id', value=[1])": ("dt.one_of", "value", "values"),
    "check = dt.matches('id', regexp='x')": ("dt.matches", "regexp", "regex"),
    "check = dt.row_count(at_lest=1)": ("dt.row_count", "at_lest", "at_least"),
    "check = dt.fresh('at', witin='2d')": ("dt.fresh", "witin", "within"),
    "check = dt.check(pl.col('id') > 0, nam='x')": ("dt.check", "nam", "name"),
}


@pytest.mark.parametrize("text", WRONG_NAMES)
def test_a_wrong_name_is_told_with_its_line_and_the_nearest_right_one(text: str, project: Project) -> None:
    declaration, wrong, right = WRONG_NAMES[text]

    with pytest.raises(UnknownName) as seen:
        load_system(project.write(HEAD + text + "\n"))

    assert seen.value.message == f"no argument of {declaration} is named {wrong!r}"
    assert seen.value.remedy == f"did you mean {right}?"
    assert seen.value.place == (str(project.root / "system.py"), LINE)


@pytest.mark.parametrize(
    ("text", "told", "right"),
    [
        ("gate = dt.Gate()", "missing a required argument: 'model'", "`dt.Gate(model, require=…, when=…, name=…)`"),
        ("limit = dt.Drift(0.2)", "too many positional", "`dt.Drift(psi=…, at_least=…, columns=…)`"),
        ("train, test = dt.split(rows, 0.2)", "too many positional", "`dt.split(source, test=…)`"),
        ("check = dt.between('id', 1)", "'high'", "`dt.between(column, low, high, severity=…)`"),
        ("@dt.evaluation(metric='auc')\ndef e(guess: object) -> dict: ...", "named 'metric'", "memory_gib"),
        ("@dt.features(key='id')\ndef f(rows: object) -> object: ...", "named 'key'", "isolated"),
    ],
)
def test_arguments_of_the_wrong_number_are_told_with_the_right_form(
    text: str, told: str, right: str, project: Project
) -> None:
    with pytest.raises(DeclarationError) as seen:
        load_system(project.write(HEAD + text + "\n"))

    assert told in seen.value.message
    assert right in seen.value.remedy
    assert seen.value.place == (str(project.root / "system.py"), LINE)


def test_one_thing_may_stand_where_a_list_of_them_may(project: Project) -> None:
    system = load_system(
        project.write(
            HEAD + "gate = dt.Gate(guess, require=quality.auc > 0.6)\n\n\n"
            "@dt.dataset(checks=dt.row_count(1))\ndef more() -> pl.DataFrame: ...\n\n\n"
            "@dt.step(outputs='half')\ndef whole() -> dict[str, int]: ...\n"
        )
    )

    assert system.parts["gate"].declared()["require"] == ["quality.auc > 0.6"]
    assert [str(check) for check in system.parts["more"].checks] == ["row_count(at_least=1)"]  # type: ignore[attr-defined]
    assert list(system.parts["whole"].outputs()) == ["half"]

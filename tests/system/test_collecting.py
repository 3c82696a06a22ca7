"""Every part that a module declares is in its system, whatever holds it; none is left out in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.project import Project

from drivetrain.errors import DeclarationError, DuplicateName
from drivetrain.system.load import load_system

HEAD = """import drivetrain as dt


@dt.dataset(label="late")
def rows() -> list: ...


@dt.model
def guess(rows: list) -> dict: ...


"""
LINE = HEAD.count("\n") + 1


def parts_of(path: Path) -> list[str]:
    return [name for name in load_system(path).parts if name not in ("rows", "guess")]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('gates = {"strict": dt.Gate(guess), "mild": dt.Gate(guess)}', ["strict", "mild"]),
        ('gates = {"strict": dt.Gate(guess, name="own")}', ["own"]),
        ('gates = [dt.Gate(guess, name="one"), [dt.Gate(guess, name="two")]]', ["one", "two"]),
        ("sides = dt.split(rows)\ntrain, test = sides", ["train", "test"]),
        ('all_of_it = {"late": {"gate": dt.Gate(guess), "service": dt.Service(guess)}}', ["gate", "service"]),
        ("gate = dt.Gate(guess)\nby_team = {'team': [gate]}", ["gate"]),
        ("by_team = {'team': dt.Gate(guess)}\ngate = by_team['team']", ["gate"]),
        ("_gate = dt.Gate(guess)", ["_gate"]),
        ("gate = promote = dt.Gate(guess)", ["gate"]),
        ("train, _ = dt.split(rows)", ["train"]),
        ("train = dt.split(rows)[0]", ["train"]),
        ("ring = [dt.Gate(guess, name='gate')]\nring.append(ring)", ["gate"]),
    ],
)
def test_a_part_is_found_where_it_is_held(text: str, names: list[str], project: Project) -> None:
    assert parts_of(project.write(HEAD + text + "\n")) == names


def test_a_part_that_is_imported_by_name_belongs_to_the_system(project: Project) -> None:
    project.write(HEAD + "gate = dt.Gate(guess)\nother = dt.Gate(guess)\n", "declared_elsewhere.py")
    path = project.write("from declared_elsewhere import gate as promote, guess, rows\n")

    assert parts_of(path) == ["promote"]


@pytest.mark.parametrize("text", ["gates = [dt.Gate(guess)]", "sides = dt.split(rows)", "gates = {1: dt.Gate(guess)}"])
def test_a_part_that_nothing_names_is_refused(text: str, project: Project) -> None:
    with pytest.raises(DeclarationError, match="has no name") as seen:
        load_system(project.write(HEAD + text + "\n"))

    assert seen.value.place == (str(project.root / "system.py"), LINE)


@pytest.mark.parametrize(
    "text",
    [
        "dt.Gate(guess)",
        "gate = dt.Gate(guess)\ngate = dt.Gate(guess)",
        "class Gates:\n    strict = dt.Gate(guess)",
        "from types import SimpleNamespace as Space; gates = Space(strict=dt.Gate(guess))",
    ],
)
def test_a_part_that_the_system_cannot_find_is_refused(text: str, project: Project) -> None:
    with pytest.raises(DeclarationError, match="a gate is declared here, and nothing holds it") as seen:
        load_system(project.write(HEAD + text + "\n"))

    assert seen.value.place in [(str(project.root / "system.py"), LINE + more) for more in (0, 1)]


def test_a_second_function_of_a_name_does_not_take_the_place_of_the_first(project: Project) -> None:
    step = "@dt.step\ndef total(rows: list) -> int: ...\n\n\n"

    with pytest.raises(DuplicateName) as seen:
        load_system(project.write(HEAD + step + step))

    assert seen.value.first == (str(project.root / "system.py"), LINE)
    assert seen.value.place == (str(project.root / "system.py"), LINE + 4)


def test_an_explicit_system_has_the_parts_that_it_names(project: Project) -> None:
    assert parts_of(project.write(HEAD + "dt.Gate(guess)\nsystem = dt.System('mine', guess, rows)\n")) == []

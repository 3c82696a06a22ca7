"""`drivetrain why PREDICTION`, as a user sees it."""

from __future__ import annotations

from tests.project import Project
from tests.ui.seed import answered, seeded

from drivetrain.serving.journal import folder_of

SYSTEM = "import drivetrain as dt\n\n\n@dt.step\ndef answer() -> int:\n    return 42\n"


def told(project: Project, prediction: str) -> list[str]:
    """Return the words of the line about the label."""
    lines = project.command("why", prediction).stdout.splitlines()
    return next(line.split() for line in lines if line.startswith("  label "))


def test_a_prediction_shows_what_turned_out_to_be_true_and_when(project: Project) -> None:
    store = seeded(project.root / ".drivetrain")
    project.write(SYSTEM)
    prediction = answered(store)
    assert told(project, prediction) == ["label", "true,", "arrived", "2", "h", "0", "min", "later"]
    shown = project.json("why", prediction)["prediction"]
    assert shown["label"] is True
    assert shown["labelled_at"] > shown["at"]


def test_a_prediction_without_a_label_says_so(project: Project) -> None:
    store = seeded(project.root / ".drivetrain")
    project.write(SYSTEM)
    prediction = answered(store)
    for part in folder_of(store, "service").glob("feedback-*.jsonl"):
        part.unlink()
    assert told(project, prediction) == ["label", "not", "yet"]

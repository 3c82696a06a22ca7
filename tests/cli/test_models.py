"""`drivetrain models`, as a user sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.project import Project

from drivetrain.data.schema import Roles
from drivetrain.registry.registry import point_alias
from drivetrain.registry.version import Signature, Version
from drivetrain.store.artifact import Artifact
from drivetrain.store.store import Store


def registered(store: Store, model: str, number: int, **metrics: float) -> None:
    store.ledger.write(
        Version(
            id=f"{model}@{number}",
            model=model,
            number=number,
            system="system",
            run="run-1",
            key=f"{model} {number}",
            artifact=Artifact(digest="sha256:" + "0" * 64, format="json", size_bytes=1, type_name="dict"),
            signature=Signature(task="binary", label="y", request=[], features=[], roles=Roles()),
            code="",
            metrics=dict(metrics),
            created_at=datetime.now(UTC),
        )
    )


def test_it_shows_who_moved_the_alias_when_and_why(project: Project) -> None:
    store = project.store()
    for model in ("size", "weight"):
        for number in (1, 2):
            registered(store, model, number)
        point_alias(store.ledger, model, "champion", f"{model}@1", reason="it passed the gate", actor="gate")
    before = datetime.now(UTC)
    point_alias(store.ledger, "size", "champion", "size@2", reason="agreed with the clinic", actor="grace")

    lines = project.command("models", "size").stdout.splitlines()
    assert ["champion", "size@2", "size@1", "just", "now", "grace", "agreed", "with", "the", "clinic"] in [
        line.split() for line in lines
    ]
    assert not [line for line in lines if "weight" in line]

    newest = project.json("models", "size")["aliases"][0]
    assert (newest["version"], newest["actor"], newest["reason"]) == ("size@2", "grace", "agreed with the clinic")

    earlier = project.command("models", "size", "--at", before.isoformat()).stdout
    assert "size was answered by size@1" in earlier
    assert "it passed the gate" in earlier
    assert "grace" not in earlier
    assert (
        "no version was live yet" in project.command("models", "--at", (before - timedelta(days=1)).isoformat()).stdout
    )


def test_figures_are_those_that_tell_most_or_else_the_models_own(project: Project) -> None:
    store = project.store()
    registered(store, "size", 1, **{"quality.auc": 0.9, "quality.rows": 7.0})
    registered(store, "tone", 1, **{"quality.right": 0.5})

    shown = {line.split()[0]: line for line in project.command("models").stdout.splitlines()}

    assert "auc 0.9" in shown["size@1"]
    assert "rows" not in shown["size@1"]
    assert "right 0.5" in shown["tone@1"]


def test_a_file_narrows_the_list_to_the_models_that_it_declares(project: Project) -> None:
    store = project.store()
    for model in ("size", "weight"):
        for number in (1, 2):
            registered(store, model, number)
            point_alias(store.ledger, model, "champion", f"{model}@{number}", reason="it passed", actor="gate")
    project.write("raise RuntimeError('this file is not asked for')")
    project.write(
        "import drivetrain as dt\n\n\n@dt.predictor\nclass Weight:\n    def predict(self, x: float) -> float:\n"
        "        return x\n",
        "heavy.py",
    )

    found = project.json("models", "--file", "heavy.py")
    back = project.command("rollback", "--file", "heavy.py").stdout

    assert [each["id"] for each in found["versions"]] == ["weight@2", "weight@1"]
    assert found["champions"] == {"weight": "weight@2"}
    assert {each["model"] for each in found["aliases"]} == {"weight"}
    assert "weight@1 is the champion now" in back
    assert len(project.json("models")["versions"]) == 4

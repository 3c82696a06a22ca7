"""An edit is seen however soon it follows a run: Python's compiled copies are not asked."""

from __future__ import annotations

import os

from tests.project import Project

from drivetrain.pipeline.run import StepRun

SYSTEM = "import drivetrain as dt\nfrom helpers import factor\nfrom parts.more import term\n\n\n"
SYSTEM += "@dt.step\ndef answer() -> int:\n    return 4 * factor() + term()\n"


def test_an_edit_of_the_same_size_in_the_same_second_counts(project: Project) -> None:
    files = {
        "system.py": SYSTEM,
        "helpers.py": "def factor() -> int:\n    return 1\n",
        "parts/__init__.py": "",
        "parts/more.py": "def term() -> int:\n    return 2\n",
    }

    def put(name: str) -> None:
        os.utime(project.write(files[name], name), (1_700_000_000, 1_700_000_000))

    def result() -> object:
        project.command("run", PYTHONDONTWRITEBYTECODE="")
        store = project.store()
        newest = store.ledger.find(StepRun, {"step": "answer"}, order="-started_at", limit=1)[0]
        found = store.value(newest.outputs["answer"])
        store.close()
        return found

    for name in files:
        put(name)
    assert result() == 6
    for name, old, new, value in (
        ("system.py", "4 *", "5 *", 7),
        ("helpers.py", "return 1", "return 3", 17),
        ("parts/more.py", "return 2", "return 9", 24),
    ):
        files[name] = files[name].replace(old, new)
        put(name)
        assert result() == value

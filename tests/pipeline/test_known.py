"""A known outcome is used only while its bytes are whole, it is fresh, and nothing outside has changed."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.pipeline.plain import Plain
from tests.project import Project

import drivetrain as dt
from drivetrain.pipeline.run import StepRun
from drivetrain.system.part import Part

HEAD = "import os\nfrom pathlib import Path\n\nimport drivetrain as dt\n\n\n"
CHAIN = HEAD + (
    "@dt.step\ndef first() -> list:\n    Path('first.txt').open('a').write('x')\n    return [1, 2]\n\n\n"
    "@dt.step\ndef second(first: list) -> int:\n    return len(first)\n\n\n"
    "@dt.step\ndef third(second: int, first: list) -> int:\n    return second + len(first)\n"
)


@dt.step
def number() -> int:
    return 1


def states(project: Project, *arguments: str) -> dict[str, str]:
    return {step["step"]: step["state"] for step in project.json("run", *arguments)["steps"]}


def reasons(project: Project, *arguments: str) -> dict[str, str]:
    return {step["step"]: step["reason"] for step in project.json("run", *arguments)["steps"]}


def artifact_of(project: Project, name: str) -> Path:
    found = project.store().ledger.find(StepRun, {"state": "finished"}, order="-started_at")
    digest = next(step.outputs[name].digest for step in found if name in step.outputs)
    return project.root / ".drivetrain/artifacts/sha256" / digest[7:9] / digest[9:]


def damage(path: Path) -> None:
    """Change a byte, and leave size and time as they were."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    path.chmod(0o644)
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("how", ["deleted", "damaged"])
def test_an_output_that_is_lost_is_made_again_and_nothing_else(how: str, project: Project) -> None:
    project.write(CHAIN)
    project.command("run")
    path = artifact_of(project, "first")
    whole = path.read_bytes()
    path.unlink() if how == "deleted" else damage(path)
    assert f"its output first was {how}" in project.command("why", "first").stdout
    assert reasons(project) == {
        "first": f"its output first was {how}",
        "second": "nothing changed",
        "third": "nothing changed",
    }
    assert path.read_bytes() == whole
    assert f"its output first was {how}" in project.command("why", "first").stdout, "after the run, too"


def test_what_is_told_of_an_output_is_looked_at_too(project: Project) -> None:
    project.write(
        "import polars as pl\nimport drivetrain as dt\n\n\n@dt.dataset\ndef rows() -> pl.DataFrame:\n"
        "    return pl.DataFrame({'a': [1]})\n"
    )
    project.command("run")
    (step,) = project.store().ledger.find(StepRun)
    digest = step.outputs["rows"].detail["profile"]
    (project.root / ".drivetrain/artifacts/sha256" / digest[7:9] / digest[9:]).unlink()
    assert "was deleted" in reasons(project)["rows"]


LARGE = HEAD + (
    "import numpy as np\n\n\n"
    "@dt.step\ndef large() -> np.ndarray:\n    return np.zeros(400_000)\n\n\n"
    "@dt.step\ndef total(large: np.ndarray, add: int = 0) -> float:\n    return float(large.sum()) + add\n\n\n"
    "@dt.step\ndef size(large: np.ndarray, add: int = 0) -> int:\n    return large.size + add\n"
)


def hide_damage(project: Project, path: Path) -> None:
    """Damage a large artifact as a failing disk does: the store still believes what it verified."""
    damage(path)
    stat = path.stat()
    for note in (project.root / ".drivetrain/verified").iterdir():
        _, _, digest = note.read_text().partition(" ")
        if digest.endswith(path.name):
            note.write_text(f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns} {digest}")


def test_a_large_output_is_read_through_once_it_is_touched(project: Project) -> None:
    project.write(LARGE)
    project.command("run")
    damage(artifact_of(project, "large"))
    assert reasons(project)["large"] == "its output large was damaged"


def test_damage_that_only_the_reader_finds_is_mended_by_the_step_that_made_it(project: Project) -> None:
    project.write(LARGE)
    project.command("run")
    hide_damage(project, artifact_of(project, "large"))
    assert project.json("why", "large")["verdict"] == "hit"
    done = project.json("run", "--set", "total.add=1", "--set", "size.add=1")
    steps = {step["step"]: step for step in done["steps"]}
    assert done["run"]["state"] == "finished"
    assert steps["large"]["state"] == "finished"
    assert steps["large"]["reason"] == "its output was damaged or deleted"
    assert steps["total"]["state"] == steps["size"]["state"] == "finished"
    assert project.store().value(project.store().ledger.find(StepRun, {"step": "size"})[-1].outputs["size"]) == 400_001
    recorded = project.store().ledger.find(StepRun, {"run": done["run"]["id"]})
    assert {step.step: step.state for step in recorded} == dict.fromkeys(("large", "total", "size"), "finished")


def test_a_step_that_cannot_be_made_again_fails_with_its_own_error(project: Project) -> None:
    project.write(LARGE.replace("return np.zeros(400_000)", "return np.zeros(400_000 // (not Path('flag').exists()))"))
    project.command("run")
    hide_damage(project, artifact_of(project, "large"))
    project.write("", "flag")
    told = project.command("run", "--set", "total.add=1", check=1).stderr
    assert "step 'large' failed: ZeroDivisionError" in told
    assert not project.store().ledger.find(StepRun, {"state": "running"})


def test_a_step_that_deletes_an_artifact_it_was_given_harms_no_other(project: Project) -> None:
    project.write(
        HEAD + "@dt.step\ndef first() -> bytes:\n    return b'abc'\n\n\n"
        "@dt.step\ndef vandal(first: bytes) -> int:\n"
        "    for path in Path('.drivetrain/artifacts/sha256').glob('*/*'):\n        path.unlink()\n    return 1\n\n\n"
        "@dt.step\ndef reader(vandal: int, first: bytearray | bytes) -> int:\n    return len(first)\n"
    )
    assert states(project) == dict.fromkeys(("first", "vandal", "reader"), "finished")
    assert states(project)["first"] == "cached" or reasons(project)["first"] == "nothing changed"


def test_a_step_that_deletes_the_file_it_reads_is_not_taken_for_known(project: Project) -> None:
    project.write("a\n1\n", "data.csv")
    project.write(
        HEAD + "import polars as pl\n\n\n@dt.dataset\ndef rows() -> pl.DataFrame:\n"
        "    found = dt.read('data.csv').collect()\n    os.remove('data.csv')\n    return found\n\n\n"
        "@dt.step\ndef height(rows: pl.DataFrame) -> int:\n    return rows.height\n"
    )
    done = project.command("run", "--json")
    assert json.loads(done.stdout)["run"]["state"] == "finished"
    assert (
        "the file data.csv changed while 'rows' ran; what it gave is not used again"
        in json.loads(done.stdout)["warnings"][0]
    )
    told = project.command("run", check=2).stderr
    assert "no file" in told
    assert "data.csv" in told
    project.write("a\n1\n", "data.csv")
    assert "what it reads changed while it last ran" in project.command("why", "rows").stdout
    assert states(project) == {"rows": "finished", "height": "cached"}


def test_rows_are_read_anew_when_they_are_no_longer_valid(project: Project) -> None:
    project.write(
        HEAD + "import polars as pl\n\n\n@dt.dataset(valid_for='30m')\ndef rows() -> pl.DataFrame:\n"
        "    return pl.DataFrame({'a': [1]})\n\n\n"
        "@dt.step\ndef height(rows: pl.DataFrame) -> int:\n    return rows.height\n"
    )
    project.command("run")
    assert states(project) == {"rows": "cached", "height": "cached"}
    ledger = project.store().ledger
    (ran,) = ledger.find(StepRun, {"step": "rows", "state": "finished"})
    ledger.write(msgspec.structs.replace(ran, started_at=ran.started_at - timedelta(hours=1)))
    assert "it was valid for 30m, and is from " in project.command("why", "rows").stdout
    assert states(project) == {"rows": "finished", "height": "cached"}, "the same rows: nothing below runs"
    project.write(HEAD + "@dt.dataset(valid_for='soon')\ndef rows() -> dict:\n    return {'a': [1]}\n")
    assert "'soon', which is not a length of time" in project.command("run", check=2).stderr


def test_a_forced_step_runs_and_what_comes_out_the_same_stops_there(project: Project) -> None:
    project.write(CHAIN)
    project.command("run")
    assert states(project, "--force", "first") == {"first": "finished", "second": "cached", "third": "cached"}
    assert states(project, "--force", "*ir*") == {"first": "finished", "second": "cached", "third": "finished"}
    assert "did you mean first?" in project.command("run", "--force", "frist", check=2).stderr
    assert "no step of this run is named 'third'" in project.command("run", "first", "--force", "third", check=2).stderr


def test_without_the_cache_every_step_runs_and_can_be_used_later(project: Project) -> None:
    project.write(CHAIN)
    project.command("run")
    assert set(states(project, "--no-cache").values()) == {"finished"}
    assert (project.root / "first.txt").read_text() == "xx"
    assert set(states(project).values()) == {"cached"}


PARTS = {
    "step": "@dt.step(env=['PLACE'], files='config.yaml')\ndef part() -> int:\n    return 1\n",
    "dataset": "@dt.dataset(env=['PLACE'], files=['*.yaml'])\ndef part() -> pl.DataFrame:\n"
    "    return pl.DataFrame({'a': [1]})\n",
    "features": "@dt.dataset(key='k', label='b')\ndef rows() -> pl.DataFrame:\n"
    "    return pl.DataFrame({'k': [1], 'a': [1], 'b': [0]})\n\n\n"
    "@dt.features(env=['PLACE'], files=['config.yaml'])\ndef part(rows: pl.DataFrame) -> pl.DataFrame:\n"
    "    return rows.select('k', 'a')\n",
    "evaluation": "@dt.evaluation(env=['PLACE'], files=['config.yaml'])\ndef part() -> dict:\n    return {'a': 1.0}\n",
}


@pytest.mark.parametrize("role", PARTS)
def test_what_a_part_declares_to_read_is_part_of_its_key(role: str, project: Project) -> None:
    project.write(HEAD + "import polars as pl\n\n\n" + PARTS[role])
    assert "there is no such file" in project.command("run", check=2).stderr
    project.write("a: 1", "config.yaml")

    def part(**environment: str) -> dict[str, Any]:
        done = json.loads(project.command("run", "--json", check=0, **environment).stdout)
        return next(step for step in done["steps"] if step["step"] == "part")

    part(PLACE="northern-hush")
    assert part(PLACE="northern-hush")["state"] == "cached"
    assert part(PLACE="southern-hush")["reason"] == "environment variable PLACE changed"
    assert part()["reason"] == "environment variable PLACE is no longer set"
    project.write("a: 2", "config.yaml")
    assert part()["reason"] == "file config.yaml changed"
    kept = b"".join(path.read_bytes() for path in (project.root / ".drivetrain").rglob("*") if path.is_file())
    assert b"ern-hush" not in kept, "a value may be a secret"


def test_a_model_declares_what_it_reads(project: Project) -> None:
    project.write(
        HEAD + "@dt.step\ndef rows() -> int:\n    return 1\n\n\n"
        "@dt.model(files=['none.txt'])\ndef part(rows: int) -> dict:\n    return {}\n"
    )
    told = project.command("run", check=2).stderr
    assert "system.py:12: 'part' declares that it reads 'none.txt', and there is no such file" in told


def test_a_secret_in_a_constant_is_not_kept_as_text(project: Project) -> None:
    project.write(
        HEAD + "WORD = os.environ['MAGIC']\nAPI_TOKEN = 'tok-' + '4711'\n\n\n"
        "@dt.step\ndef part() -> int:\n    return len(WORD + API_TOKEN)\n"
    )
    project.command("run", MAGIC="abra-4711")
    assert "constant system.WORD changed" in project.command("why", "part", MAGIC="cada-4711").stdout
    kept = b"".join(path.read_bytes() for path in (project.root / ".drivetrain").rglob("*") if path.is_file())
    assert not [word for word in (b"abra-4711", b"cada-4711", b"tok-4711") if word in kept]


WARNED = {
    "a global that is rebound": ("COUNT = 0", "    global COUNT\n    COUNT += 1\n", "'COUNT' is changed by part"),
    "a list that grows": ("SEEN = []", "    SEEN.append(1)\n", "'SEEN' is changed by part"),
    "a dict that is set": ("SEEN = {}", "    SEEN['a'] = 1\n", "'SEEN' is changed by part"),
    "a list that grows out of sight": (
        "SEEN = []",
        "    s = SEEN\n    s.append(1)\n",
        "constant system.SEEN changed while",
    ),
    "an object that changes": (
        "class Box:\n    pass\n\n\nBOX = Box()",
        "    setattr(BOX, 'x', 1)\n",
        "constant system.BOX changed while",
    ),
    "a generator": (
        "ONE = (x for x in 'a')",
        "    next(ONE)\n",
        "'ONE' is generator, whose contents cannot be followed",
    ),
    "an open file": ("FILE = open('system.py')", "    FILE.name\n", "'FILE' is TextIOWrapper, whose contents"),
    "a hidden function": (
        "import numpy as np\n\nF = np.frompyfunc(lambda x: x, 1, 1)",
        "    F(1)\n",
        "'F' is ufunc, whose contents",
    ),
}


@pytest.mark.parametrize("what", WARNED)
def test_what_cannot_be_keyed_is_told_with_its_place(what: str, project: Project) -> None:
    top, body, words = WARNED[what]
    project.write(f"{HEAD}{top}\n\n\n@dt.step\ndef part() -> int:\n{body}    return 1\n")
    told = project.command("run").stderr
    assert words in told
    assert "note: system.py:" in told


def test_a_key_that_many_runs_have_met_is_found_as_fast_as_any(project: Project) -> None:
    project.write(CHAIN)
    for _ in range(2):
        project.command("run")
    sql = "EXPLAIN QUERY PLAN SELECT * FROM step_run WHERE key IS 'a' AND state IS 'finished' ORDER BY started_at DESC"
    plan = " ".join(str(row) for row in project.store().ledger.select(sql))
    assert "(key=? AND state=?)" in plan, "runs that took it as known have rows of the same key"


def numbered(at: int) -> Part:
    def number_of_its_own() -> int:
        return at

    return type(number)(name=f"n{at}", place=number.place, function=number_of_its_own)


def test_the_outcomes_of_the_run_before_are_looked_up_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, many = Plain(tmp_path), [numbered(at) for at in range(60)]
    asked: list[Any] = []
    find = type(lab.store.ledger).find

    def counted(ledger: Any, kind: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(kind)
        return find(ledger, kind, *arguments, **options)

    monkeypatch.setattr(type(lab.store.ledger), "find", counted)
    questions = []
    for parts in (many[:3], many):
        lab.run(*parts)
        asked.clear()
        assert set(lab.run(*parts).values()) == {"cached"}
        questions.append(asked.count(StepRun))
    assert len({step.key for step in lab.last.steps.values()}) == 60  # type: ignore[union-attr]
    assert questions == [1, 1]


def test_a_step_finds_its_outcome_also_where_the_run_before_had_another(project: Project) -> None:
    for count in (1, 2):
        project.write(CHAIN.replace("[1, 2]", f"[1] * {count}"))
        project.command("run")
    project.write(CHAIN.replace("[1, 2]", "[1] * 1"))
    assert states(project) == {"first": "cached", "second": "cached", "third": "cached"}

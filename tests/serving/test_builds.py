"""Versions that answer by a fast build, those whose build cannot be loaded, and what is told of both."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pytest
from tests.serving.project import Project
from tests.serving.world import FEATURES, ROW, promote, register, served, wait_until

from drivetrain.registry.version import Version
from drivetrain.serving.predictor import Predictor
from drivetrain.store.store import Store
from drivetrain.training.builds import Build, builds_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("lightgbm")

SYSTEM = """
import lightgbm
import numpy as np
import polars as pl

import drivetrain as dt


@dt.dataset(label="is_late")
def flights() -> pl.DataFrame:
    numbers = np.random.default_rng(0)
    miles = numbers.normal(900, 300, 3_000)
    wind = [None if place % 50 == 0 else value for place, value in enumerate(numbers.normal(10, 3, 3_000))]
    return pl.DataFrame({"miles": miles, "wind": wind, "is_late": (miles + numbers.normal(0, 200, 3_000) > 900)})


train, test = dt.split(flights)


@dt.model
def late(train: pl.DataFrame) -> lightgbm.LGBMClassifier:
    return lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(
        train.drop("is_late").to_numpy(), train["is_late"].to_numpy()
    )


@dt.evaluation
def quality(late, test: pl.DataFrame) -> dict[str, float]:
    return dt.metrics.binary(late, test)


gate = dt.Gate(late, require=[quality.auc > 0.6])
answers = dt.Service(late)
"""
ASKED: list[dict[str, Any]] = [
    {"miles": 120.5 + 111 * place, "wind": None if place == 3 else place} for place in range(9)
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("builds"), SYSTEM)
    made.run()
    return made


@pytest.fixture
def kept(project: Project, tmp_path: Path) -> Iterator[tuple[Store, Version]]:
    """Return a copy of the project's store, and its version."""
    shutil.copytree(project.folder / ".drivetrain", tmp_path / "store")
    opened = Store.open(tmp_path / "store")
    (version,) = opened.ledger.find(Version)
    yield opened, version
    opened.close()


def originals(store: Store, version: Version) -> list[float]:
    table = pl.DataFrame(ASKED, schema={"miles": pl.Float64, "wind": pl.Float64})
    found: list[float] = store.value(version.artifact).predict_proba(table.to_numpy())[:, 1].tolist()
    return found


def chosen(version: Version) -> Build:
    builds = builds_of(version.artifact)
    assert builds is not None
    return builds.ranked()[0]


def test_a_run_compares_builds_on_the_rows_of_test_and_training(kept: tuple[Store, Version]) -> None:
    _, version = kept

    builds = builds_of(version.artifact)

    assert builds is not None
    native = next(each for each in builds.tried if each.form == "lightgbm-native")
    assert (native.rows, native.made_up_rows, native.differing_rows) == (3_000, 1, 0)
    assert "fewer than 0.1 % of all do" in native.evidence


def test_a_server_answers_natively_as_the_original_does(kept: tuple[Store, Version]) -> None:
    store, version = kept
    only_native = [
        each for each in msgspec.to_builtins(builds_of(version.artifact))["tried"] if "light" in each["form"]
    ]
    detail = version.artifact.detail | {"builds": version.artifact.detail["builds"] | {"tried": only_native}}
    store.ledger.write(
        msgspec.structs.replace(version, artifact=msgspec.structs.replace(version.artifact, detail=detail))
    )

    with served(store) as server:
        told = server.client.get("/version").json()["champion"]
        many = server.client.post("/predict", json=ASKED).json()["predictions"]
        single = [server.client.post("/predict", json=row).json()["prediction"] for row in ASKED]
        ready = server.client.get("/readyz").json()

    assert told["build"] == "lightgbm-native"
    assert told["build_reason"].startswith("0 of 3,001 rows differ")
    assert [each["prediction"] for each in many] == originals(store, version)
    assert single == originals(store, version)
    assert "notes" not in ready
    assert "build_note" not in told


def test_a_damaged_build_leaves_the_answer_to_the_original_and_says_so(store: Store) -> None:
    version = register(store, 1)
    promote(store, version)
    path = store.artifacts.place(chosen(version).digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-100])

    with served(store, ready=False) as server:
        # The original's library takes its time to load on a busy machine.
        wait_until(lambda: server.client.get("/readyz").status_code == 200, 100)
        told = server.client.get("/version").json()["champion"]
        answered = server.predict(ROW)
        ready = server.client.get("/readyz").json()

    assert told["build"] == "skops"
    assert told["build_note"].startswith("the onnx build of late@1 cannot be loaded: ")
    assert "is damaged" in told["build_note"]
    assert ready["status"] == "ready"
    assert ready["notes"] == [told["build_note"]]
    assert answered.status_code == 200


def test_a_build_whose_library_is_missing_leaves_the_answer_to_the_original(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register(store, 1)
    fast = Predictor.load(store, version)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    slow = Predictor.load(store, version)

    assert (fast.build, fast.build_note) == ("onnx", "")
    assert slow.build == "skops"
    assert slow.build_note.startswith("the onnx build of late@1 cannot be loaded: ")
    assert "onnxruntime" in slow.build_note
    row = [slow.reader.one(msgspec.json.encode(ROW))]
    assert slow.answer(row).predictions == pytest.approx(fast.answer(row).predictions, abs=1e-6)


def test_a_build_of_other_features_is_refused(store: Store, kept: tuple[Store, Version]) -> None:
    other, version = kept
    digest = store.artifacts.put(other.artifacts.get(native(version).digest))
    made = register(store, 1)
    builds = {"tried": [{"form": "lightgbm-native", "digest": digest}]}
    version = register(store, 2, artifact=msgspec.structs.replace(made.artifact, detail={"builds": builds}))

    predictor = Predictor.load(store, version)

    assert predictor.build == "skops"
    assert f"has 2 features, and the version {len(FEATURES)}" in predictor.build_note


def native(version: Version) -> Build:
    builds = builds_of(version.artifact)
    assert builds is not None
    return next(each for each in builds.tried if each.form == "lightgbm-native")


def test_a_version_of_before_answers_by_its_build(store: Store) -> None:
    version = register(store, 1)
    before = {"digest": chosen(version).digest, "format": "onnx", "rows": 430, "differing_rows": 0,
              "largest_difference": 1.8e-7, "reason": ""}  # fmt: skip
    version = register(store, 2, artifact=msgspec.structs.replace(version.artifact, detail={"fast": before}))
    promote(store, version)

    with served(store) as server:
        told = server.client.get("/version").json()["champion"]

    assert told["build"] == "onnx"
    assert told["build_reason"] == "0 of 430 rows differ, so (95 % sure) fewer than 0.7 % of all do"


def test_the_evidence_is_shown_by_the_commands(project: Project) -> None:
    shown = project.command("show", "late@1").stdout
    listed = project.command("models").stdout
    (version,) = Store.open(project.folder / ".drivetrain").ledger.find(Version)

    lines = [line.split() for line in shown.splitlines()]
    assert next(line for line in lines if line[:1] == ["lightgbm-native"])[2] == "µs"
    answering = next(line for line in shown.splitlines() if chosen(version).form in line)
    assert "answers: 0 of 3,001 rows differ" in answering
    assert chosen(version).form in listed
    assert project.command("show", "late@9").returncode != 0


def test_an_onnx_build_of_a_network_is_refused_without_what_makes_it(tmp_path: Path) -> None:
    source = "import drivetrain as dt\n\nnet = dt.torch('net.pt2', onnx=True)\ngate = dt.Gate(net)\n"
    project = Project(tmp_path, source, net__pt2=b"not read", onnxscript__py="raise ImportError('not here')")

    done = project.command("run")

    assert done.returncode == 2, done.stdout
    assert "the ONNX build of 'net' needs onnxscript, which is not installed" in done.stderr
    assert 'pip install "drivetrain[onnx]"' in done.stderr

"""Fast builds of models of each library: what they answer, what is compared, and which are not used."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from drivetrain.data.schema import Roles, columns_of
from drivetrain.store.files import FileArtifacts
from drivetrain.training.builds import Build, Builds
from drivetrain.training.builds.form import Running, form_named
from drivetrain.training.builds.making import builds_for
from drivetrain.training.predict import predictions
from drivetrain.training.signature import Signature

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
pytest.importorskip("onnxruntime")
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

ROWS = 3_000


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    # On a busy machine the threads of OpenMP wait for each other for minutes.
    with threadpool_limits(1):
        yield


@pytest.fixture
def artifacts(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "artifacts")


def numbers(dtype: Any = pl.Float64, *, rows: int = ROWS, columns: int = 6) -> pl.DataFrame:
    made = np.random.default_rng(0).normal(50, 20, (rows, columns))
    return pl.DataFrame({f"x{place}": pl.Series(made[:, place], dtype=dtype) for place in range(columns)})


def label(x: pl.DataFrame) -> Any:
    values = x.fill_null(50.0).to_numpy()
    return values[:, 0] + 20 * np.sin(values[:, 1] / 9) + np.random.default_rng(1).normal(0, 10, x.height)


def signature_of(x: pl.DataFrame, task: Any, classes: int = 2) -> Signature:
    columns = columns_of(x)
    return Signature(
        task=task,
        label="y",
        classes=[] if task == "regression" else list(range(classes)),
        request=columns,
        features=columns,
        roles=Roles(),
    )


def build_of(builds: Builds | None, form: str) -> Build:
    assert builds is not None
    return next(each for each in builds.tried if each.form == form)


def opened(builds: Builds | None, form: str, signature: Signature, artifacts: FileArtifacts) -> Running:
    build = build_of(builds, form)
    assert build.digest, build.reason
    return form_named(form).opened(artifacts.path(build.digest), signature)


def told(found: Any, task: str) -> Any:
    return found if task == "multiclass" or found.ndim == 1 else found[:, -1]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_booster_of_lightgbm_is_asked_through_its_c_library(task: Any, artifacts: FileArtifacts) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    x = numbers().with_columns(x5=pl.when(pl.int_range(pl.len()) % 7 > 0).then("x5"))  # some are missing
    y = label(x)
    y = y if task == "regression" else np.digitize(y, [50] if task == "binary" else [40, 60])
    kind = lightgbm.LGBMRegressor if task == "regression" else lightgbm.LGBMClassifier
    model = kind(n_estimators=20, verbose=-1, n_jobs=1).fit(x.to_numpy(), y)
    signature = signature_of(x, task, 3)

    builds = builds_for(model, signature, x, artifacts)

    build = build_of(builds, "lightgbm-native")
    assert (build.rows, build.made_up_rows, build.differing_rows, build.largest_difference) == (ROWS, 1, 0, 0.0)
    native = opened(builds, "lightgbm-native", signature, artifacts)
    original = predictions(model, x, signature)
    assert np.array_equal(native.scores(x.rows()), original)
    assert np.array_equal(native.scores_of(x), original)
    assert np.array_equal(np.concatenate([native.scores([row]) for row in x.head(20).rows()]), original[:20])
    assert build.pace is not None
    assert builds is not None
    assert builds.original is not None
    assert build.pace.one_row_s < builds.original.one_row_s
    assert "0 of 3,001 rows differ, so (95 % sure) fewer than 0.1 % of all do" in builds.why


def test_a_booster_stops_where_its_best_iteration_was(artifacts: FileArtifacts) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    x = numbers(pl.Float32)
    data = lightgbm.Dataset(x.to_numpy(), label(x), params={"verbose": -1})
    booster = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, 30)
    booster.best_iteration = 10
    signature = signature_of(x, "regression")

    native = opened(builds_for(booster, signature, x, artifacts), "lightgbm-native", signature, artifacts)

    # A number of a request has 64 bits, the column it belongs to has 32.
    rows = [(50.1, 49.3, 20.7, 61.9, 33.3, 70.7)]
    asked = pl.DataFrame(rows, schema=x.schema, orient="row")
    assert native.scores(rows) == predictions(booster, asked, signature)


def test_categories_of_numbers_are_met_natively(artifacts: FileArtifacts) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    x = numbers().with_columns(kind=pl.Series(np.random.default_rng(2).integers(0, 30, ROWS)))
    y = label(x) + 10 * (x["kind"].to_numpy() % 3)
    model = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1)
    model.fit(x.to_numpy(), y, categorical_feature=[6])
    signature = signature_of(x, "regression")

    native = opened(builds_for(model, signature, x, artifacts), "lightgbm-native", signature, artifacts)

    unseen = x.head(50).with_columns(kind=pl.int_range(pl.len()) + 25)
    assert np.array_equal(native.scores(unseen.rows()), predictions(model, unseen, signature))


def test_a_pipeline_that_ends_in_lightgbm_is_converted(artifacts: FileArtifacts) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    pytest.importorskip("onnxmltools")
    x = numbers(pl.Float32).with_columns(carrier=pl.Series(np.random.default_rng(2).choice(["UA", "AA", "B6"], ROWS)))
    encoded = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["carrier"]), remainder="passthrough"
    )
    model = make_pipeline(encoded, lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1))
    model.set_output(transform="polars")
    model.fit(x, (label(x.drop("carrier")) > 50).astype(int))
    signature = signature_of(x, "binary")

    builds = builds_for(model, signature, x, artifacts)

    found = told(opened(builds, "onnx", signature, artifacts).scores(x.rows()), "binary")
    assert found == pytest.approx(predictions(model, x, signature), abs=1e-5)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_an_estimator_of_xgboost_is_converted(task: Any, artifacts: FileArtifacts) -> None:
    xgboost = pytest.importorskip("xgboost")
    pytest.importorskip("onnxmltools")
    x = numbers()
    y = label(x)
    y = y if task == "regression" else np.digitize(y, [50] if task == "binary" else [40, 60])
    kind = xgboost.XGBRegressor if task == "regression" else xgboost.XGBClassifier
    model = kind(n_estimators=20, n_jobs=1).fit(x.to_numpy(), y)
    signature = signature_of(x, task, 3)

    builds = builds_for(model, signature, x, artifacts)

    found = told(opened(builds, "onnx", signature, artifacts).scores(x.rows()), task)
    assert found == pytest.approx(predictions(model, x, signature), abs=1e-4)


def test_scaled_trees_on_32_bits_agree_as_their_build_divides(artifacts: FileArtifacts) -> None:
    x = numbers(pl.Float32)
    model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=50)).fit(
        x.to_numpy(), label(x) > 50
    )

    build = build_of(builds_for(model, signature_of(x, "binary"), x, artifacts), "onnx")

    # Each number's neighbours are compared as well, in both directions.
    assert (build.rows, build.made_up_rows, build.differing_rows) == (ROWS, 4_000, 0)
    assert build.digest


def test_scaled_trees_on_64_bits_answer_themselves_and_the_rows_that_differ_are_counted(
    artifacts: FileArtifacts,
) -> None:
    x = numbers()
    model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=50)).fit(
        x.to_numpy(), label(x) > 50
    )

    builds = builds_for(model, signature_of(x, "binary"), x, artifacts)

    build = build_of(builds, "onnx")
    assert build.differing_rows > 0
    assert build.largest_difference > 0.001
    assert build.digest == ""
    assert builds is not None
    assert builds.ranked() == []
    assert builds.why == f"onnx: {build.differing_rows} of 3,000 rows differ by up to {build.largest_difference:.2g}"
    assert list(artifacts) == []


def test_a_forest_and_a_line_agree(artifacts: FileArtifacts) -> None:
    x = numbers()
    y = (label(x) > 50).astype(int)
    for model in (RandomForestClassifier(20, max_depth=6), make_pipeline(StandardScaler(), LogisticRegression())):
        builds = builds_for(model.fit(x.to_numpy(), y), signature_of(x, "binary"), x, artifacts)

        assert builds is not None
        assert [each.form for each in builds.ranked()] == ["onnx"], builds.why
        assert "times as fast as the original" in builds.why


def test_an_unseen_category_and_a_missing_number_are_compared(artifacts: FileArtifacts) -> None:
    x = numbers(pl.Float32).with_columns(
        carrier=pl.Series(np.random.default_rng(2).choice(["UA", "AA", "B6"], ROWS)),
        x1=pl.when(pl.int_range(pl.len()) % 9 > 0).then("x1"),
    )
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    encoded = make_column_transformer((encoder, ["carrier"]), remainder="passthrough")
    model = make_pipeline(encoded, HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=8))
    model.fit(x, label(x.drop("carrier")) > 50)

    build = build_of(builds_for(model, signature_of(x, "binary"), x, artifacts), "onnx")

    assert (build.rows, build.made_up_rows, build.differing_rows) == (ROWS, 4_002, 0), build.reason


def test_whole_numbers_beyond_32_bits_are_found_out(artifacts: FileArtifacts) -> None:
    # Whole numbers above 2 ** 24 are not exact in 32 bits, so every second row falls to the other side.
    x = pl.DataFrame({"number": np.arange(200) + 2**27})
    y = np.arange(200) % 2
    fitted = HistGradientBoostingRegressor(min_samples_leaf=1, max_iter=50, learning_rate=0.5).fit(x.to_numpy(), y)

    build = build_of(builds_for(fitted, signature_of(x, "regression"), x, artifacts), "onnx")

    assert build.differing_rows > 50
    assert build.digest == ""
    assert "of 200 rows differ" in build.reason


def test_what_cannot_be_converted_says_why(artifacts: FileArtifacts) -> None:
    class Odd(LogisticRegression):  # type: ignore[misc]
        __module__ = "sklearn.odd"

    x = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})

    builds = builds_for(Odd().fit(x, [0, 1, 0, 1]), signature_of(x, "binary"), x, artifacts)

    assert builds_for(object(), signature_of(x, "binary"), x, artifacts) is None
    assert build_of(builds, "onnx").digest == ""
    assert build_of(builds, "onnx").reason.startswith("it cannot be built or run: ")


def test_the_library_of_lightgbm_is_found_without_its_package() -> None:
    pytest.importorskip("lightgbm")
    import subprocess
    import sys

    held = any(file.stem == "lib_lightgbm" for file in distribution("lightgbm").files or ())
    code = (
        "import sys; from drivetrain.training.builds.lightgbm import _library; _library(); "
        "print('lightgbm' in sys.modules)"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert held
    assert found.stdout.strip() == "False"

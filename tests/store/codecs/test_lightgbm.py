from typing import Any

import numpy as np
import pytest
from tests.store.codecs.kept import again

from drivetrain.errors import Refused, Unkeepable
from drivetrain.store.artifact import Artifact
from drivetrain.store.codecs.booster import write_booster
from drivetrain.store.store import Store

lightgbm = pytest.importorskip("lightgbm")

X = np.random.default_rng(0).normal(size=(80, 3))
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
LABELS = [
    Y,
    Y > 0,
    np.array(["early", "late", "punctual"])[Y],
    np.array(["early", "late", "punctual"], dtype=object)[Y],
    np.array([-1.0, 0.0, 7.0])[Y],
]


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: str(labels.dtype))
def test_a_classifier_comes_back_with_its_classes_and_parameters(store: Store, labels: Any) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=4, learning_rate=np.float64(0.2), verbose=-1, max_bin=31)
    model.fit(X, labels)

    seen = again(store, model, lightgbm.LGBMClassifier, format="lightgbm")

    np.testing.assert_array_equal(seen.predict(X), model.predict(X))
    np.testing.assert_array_equal(seen.predict_proba(X), model.predict_proba(X))
    assert seen.classes_.dtype == model.classes_.dtype
    assert seen.get_params() == model.get_params()
    assert (seen.n_features_in_, seen.best_iteration_) == (model.n_features_in_, model.best_iteration_)
    assert seen.feature_name_ == model.feature_name_
    np.testing.assert_array_equal(seen.fit(X, labels).predict(X), model.predict(X))


def test_a_regressor_that_stopped_early_uses_its_best_iteration(store: Store) -> None:
    model = lightgbm.LGBMRegressor(n_estimators=60, verbose=-1)
    model.fit(X, X[:, 0], eval_X=X[:20], eval_y=X[:20, 1], callbacks=[lightgbm.early_stopping(2, verbose=False)])

    seen = again(store, model)

    assert seen.best_iteration_ == model.best_iteration_ < 60
    assert seen.evals_result_ == model.evals_result_
    np.testing.assert_array_equal(seen.predict(X), model.predict(X))


def test_a_booster_and_an_unfitted_model_come_back(store: Store) -> None:
    booster = lightgbm.train({"verbosity": -1}, lightgbm.Dataset(X, X[:, 0]), 3)

    assert again(store, booster, lightgbm.Booster).predict(X).tolist() == booster.predict(X).tolist()
    assert again(store, lightgbm.LGBMRanker(n_estimators=7)).n_estimators == 7


def test_an_objective_of_ones_own_is_refused_by_its_parameter(store: Store) -> None:
    with pytest.raises(Unkeepable, match=r"\['params'\]\['objective'\]"):
        store.keep(lightgbm.LGBMRegressor(objective=lambda y, p: (p - y, y * 0 + 1)), part="part")


def test_a_class_of_ones_own_is_refused_by_its_name(store: Store) -> None:
    class Mine(lightgbm.LGBMClassifier):  # type: ignore[misc, name-defined]  # its bases have no types
        pass

    with pytest.raises(Unkeepable, match="Mine"):
        store.keep(Mine(), part="part")


def test_a_file_that_names_another_class_is_refused(store: Store) -> None:
    path = store.artifacts.scratch_path()
    write_booster(path, None, {"class": "basic._load_lib", "params": {}})

    with pytest.raises(Refused, match="_load_lib"):
        store.value(Artifact(digest=store.artifacts.adopt(path), format="lightgbm", size_bytes=1))

from math import isnan

import numpy as np
import pytest
from tests.store.codecs.kept import again

from drivetrain.errors import Refused, Unkeepable
from drivetrain.store.artifact import Artifact
from drivetrain.store.store import Store

xgboost = pytest.importorskip("xgboost")

X = np.random.default_rng(0).normal(size=(80, 3)).astype("float32")
Y = (X[:, 0] > 0).astype(int)


@pytest.mark.parametrize("labels", [Y, Y + (X[:, 1] > 0)], ids=["binary", "multiclass"])
def test_a_classifier_comes_back_with_its_classes_and_parameters(store: Store, labels: np.ndarray) -> None:
    model = xgboost.XGBClassifier(n_estimators=4, learning_rate=0.2, max_depth=3, subsample=0.9, random_state=1)
    model.fit(X, labels)

    seen = again(store, model, xgboost.XGBClassifier, format="xgboost")

    np.testing.assert_array_equal(seen.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(seen.classes_, model.classes_)
    given, got = model.get_params(), seen.get_params()
    assert isnan(given.pop("missing"))
    assert isnan(got.pop("missing"))
    assert got == given
    np.testing.assert_array_equal(seen.fit(X, labels).predict_proba(X), model.predict_proba(X))


def test_a_regressor_that_stopped_early_uses_its_best_iteration(store: Store) -> None:
    model = xgboost.XGBRegressor(n_estimators=60, early_stopping_rounds=2)
    model.fit(X, X[:, 0], eval_set=[(X[:20], X[:20, 1])], verbose=False)

    seen = again(store, model)

    assert seen.best_iteration == model.best_iteration < 59
    assert seen.evals_result() == model.evals_result()
    np.testing.assert_array_equal(seen.predict(X), model.predict(X))


def test_a_booster_and_an_unfitted_model_come_back(store: Store) -> None:
    data = xgboost.DMatrix(X, X[:, 0], feature_names=["a", "b", "c"])
    booster = xgboost.train({"max_depth": 2}, data, 3)

    seen = again(store, booster, xgboost.Booster)

    assert seen.predict(data).tolist() == booster.predict(data).tolist()
    assert seen.feature_names == ["a", "b", "c"]
    assert again(store, xgboost.XGBRFRegressor(n_estimators=7)).n_estimators == 7


def test_an_objective_of_ones_own_is_refused_by_its_parameter(store: Store) -> None:
    with pytest.raises(Unkeepable, match=r"\['params'\]\['objective'\]"):
        store.keep(xgboost.XGBRegressor(objective=lambda y, p: (p - y, y * 0 + 1)), part="part")


def test_a_file_that_is_no_model_is_refused(store: Store) -> None:
    with pytest.raises(Refused, match="train it again"):
        store.value(Artifact(digest=store.artifacts.put(b"no zip"), format="xgboost", size_bytes=6))

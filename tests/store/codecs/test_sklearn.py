import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.store.codecs.kept import again, kept

from drivetrain.errors import Refused, Unkeepable
from drivetrain.store.artifact import Artifact
from drivetrain.store.store import Store

pytest.importorskip("skops")
from sklearn import (
    calibration,
    compose,
    decomposition,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    linear_model,
    model_selection,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
)
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
LABELS = np.where(Y == 1, "late", "punctual")

CLASSIFIERS = [
    linear_model.LogisticRegression(),
    linear_model.SGDClassifier(random_state=0),
    ensemble.HistGradientBoostingClassifier(max_iter=5),
    ensemble.RandomForestClassifier(n_estimators=3, random_state=0),
    ensemble.GradientBoostingClassifier(n_estimators=3, random_state=0),
    ensemble.IsolationForest(n_estimators=3, random_state=0),
    neighbors.KNeighborsClassifier(),
    svm.SVC(),
    naive_bayes.GaussianNB(),
    neural_network.MLPClassifier((4,), solver="lbfgs", random_state=0),
    gaussian_process.GaussianProcessClassifier(),
    calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), cv=2),
    model_selection.GridSearchCV(linear_model.LogisticRegression(), {"C": [0.1, 1.0]}, cv=2, scoring="roc_auc"),
    ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())]),
    pipeline.make_pipeline(
        compose.make_column_transformer(
            (preprocessing.FunctionTransformer(np.nan_to_num), [0]),
            (preprocessing.FunctionTransformer(np.log1p, validate=False), []),
            (preprocessing.SplineTransformer(), [1]),
            remainder=pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()),
        ),
        feature_selection.SelectKBest(feature_selection.f_classif, k=2),
        decomposition.PCA(2),
        linear_model.LogisticRegression(),
    ),
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda model: type(model).__name__)
def test_a_fitted_model_comes_back_and_predicts_the_same(store: Store, model: Any) -> None:
    model.fit(X, LABELS)

    seen = again(store, model, type(model), format="skops")

    assert type(seen) is type(model)
    np.testing.assert_array_equal(seen.predict(X), model.predict(X))


def test_text_models_and_regressors_come_back(store: Store) -> None:
    words = pipeline.make_pipeline(TfidfVectorizer(), linear_model.Ridge())
    words.fit(["late again", "on time", "late"], [1.0, 0.0, 1.0])
    flat = isotonic.IsotonicRegression().fit([1, 2, 3], [1, 3, 2])

    assert again(store, words).predict(["late"])[0] == words.predict(["late"])[0]
    assert again(store, flat).predict([2.5])[0] == flat.predict([2.5])[0]


def test_a_model_trained_again_has_the_same_digest(store: Store) -> None:
    first = ensemble.HistGradientBoostingClassifier(max_iter=3, random_state=0).fit(X, Y)
    second = ensemble.HistGradientBoostingClassifier(max_iter=3, random_state=0).fit(X.copy(), Y.copy())

    assert kept(store, first).digest == kept(store, second).digest


class Doubled(BaseEstimator, TransformerMixin):  # type: ignore[misc]  # its bases have no types
    def transform(self, x: Any) -> Any:
        return x * 2


@pytest.mark.parametrize(
    ("step", "named"),
    [
        (Doubled(), "Doubled"),
        (preprocessing.FunctionTransformer(lambda x: x), "lambda"),
        (preprocessing.FunctionTransformer(np.load), "numpy.load"),
        (preprocessing.FunctionTransformer(np.testing.assert_equal), "assert_equal"),
        (preprocessing.FunctionTransformer(eval), "eval"),
    ],
)
def test_code_of_ones_own_is_refused_by_its_name_when_it_is_written(store: Store, step: Any, named: str) -> None:
    model = pipeline.make_pipeline(step, linear_model.Ridge())

    with pytest.raises(Unkeepable, match=named) as caught:
        store.keep(model, part="lateness")

    assert "'lateness'" in str(caught.value)
    assert "@dt.predictor(files=" in caught.value.remedy


def forged(store: Store, change: dict[str, Any]) -> Artifact:
    """Return a skops artifact in whose file one node has been changed by hand."""
    data = store.artifacts.get(kept(store, linear_model.Ridge()).digest)
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        schema = json.loads(source.read("schema.json"))
    schema["content"]["content"]["tol"] = change
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        target.writestr("schema.json", json.dumps(schema))
    return Artifact(digest=store.artifacts.put(made.getvalue()), format="skops", size_bytes=1)


TEXT = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": '"touch owned"'}
ARGUMENTS = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": [TEXT]}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("subprocess", "run"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy", "memmap"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.f2py", "run_main"),
        ("numpy.ctypeslib", "load_library"),
        ("numpy.lib._datasource", "DataSource"),
        ("scipy.io", "loadmat"),
        ("sklearn.datasets", "load_svmlight_file"),
        ("sklearn.utils._testing", "TempMemmap"),
        ("sklearn.utils.parallel", "Parallel"),
        ("sklearn.base", "clone"),
        ("lightgbm.basic", "_load_lib"),
        ("collections", "namedtuple"),
        ("drivetrain.store.files", "FileArtifacts"),
    ],
)
@pytest.mark.parametrize("loader", ["ConstructorFromReduceNode", "FunctionNode", "ObjectNode", "TypeNode"])
def test_a_forged_file_is_refused_before_anything_in_it_runs(
    store: Store, module: str, name: str, loader: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    artifact = forged(store, {"__class__": name, "__module__": module, "__loader__": loader, "content": ARGUMENTS})

    with pytest.raises(Refused, match=rf"{module}\.{name}"):
        store.value(artifact)

    assert not (tmp_path / "owned").exists()


def test_a_partial_is_trusted_no_further_than_what_it_calls(store: Store) -> None:
    nothing = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {}}
    nothing |= {"key_types": {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": []}}
    content = {
        "func": {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"},
        "args": ARGUMENTS,
        "kwds": nothing,
        "namespace": TEXT | {"content": "null"},
    }
    artifact = forged(
        store, {"__class__": "partial", "__module__": "functools", "__loader__": "PartialNode", "content": content}
    )

    with pytest.raises(Refused, match=r"a model names os\.system, which"):
        store.value(artifact)


def test_a_model_of_categories_of_pandas_comes_back(store: Store) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": X[:, 0], "kind": pandas.Categorical(list("abc") * 20)})
    model = ensemble.HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5).fit(frame, Y)

    seen = again(store, model, format="skops")

    np.testing.assert_array_equal(seen.predict_proba(frame), model.predict_proba(frame))


def test_a_file_that_is_no_model_is_refused(store: Store) -> None:
    with pytest.raises(Refused, match="train it again"):
        store.value(Artifact(digest=store.artifacts.put(b"no zip"), format="skops", size_bytes=6))


def test_wrappers_of_boosters_in_a_pipeline_come_back(store: Store) -> None:
    for library, name in [("lightgbm", "LGBMClassifier"), ("xgboost", "XGBClassifier")]:
        kind = getattr(pytest.importorskip(library), name)
        options = {"verbose": -1} if library == "lightgbm" else {}
        model = pipeline.make_pipeline(preprocessing.StandardScaler(), kind(n_estimators=3, **options)).fit(X, Y)

        seen = again(store, model, format="skops")

        np.testing.assert_allclose(seen.predict_proba(X), model.predict_proba(X))

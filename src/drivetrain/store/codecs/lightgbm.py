"""Models of LightGBM in its own text format, with what their scikit-learn wrapper knows beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm

from drivetrain.errors import Unkeepable
from drivetrain.store.codecs.booster import labels_from_json, labels_to_json, read_booster, write_booster
from drivetrain.store.codecs.codec import Written

if TYPE_CHECKING:
    from pathlib import Path

_CLASSES = {name: getattr(lightgbm, name, None) for name in ("LGBMClassifier", "LGBMRegressor", "LGBMRanker")}
# What `fit` learns beside the trees, as the wrapper holds it.
_LEARNED = (
    "_n_features", "_n_features_in", "_n_classes", "_best_iteration", "_best_score", "_evals_result", "_objective",
    "_fitted_with_feature_names", "_class_weight", "_other_params",
)  # fmt: skip


class LightGBMCodec:
    """Keeps Booster, LGBMClassifier, LGBMRegressor and LGBMRanker."""

    formats = frozenset({"lightgbm"})
    shares = False

    def write(self, value: Any, path: Path) -> Written:
        kind = type(value)
        if kind is lightgbm.Booster:
            facts = {"class": "Booster", "best_iteration": value.best_iteration}
            write_booster(path, value.model_to_string(num_iteration=-1).encode(), facts)
            return Written("lightgbm")
        if kind not in _CLASSES.values():
            raise Unkeepable(
                found=f"a {kind.__module__}.{kind.__qualname__}", right=f"return a Booster, {', '.join(_CLASSES)}"
            )
        params = value.get_params(deep=False)
        facts = {"class": kind.__name__, "params": params}
        if not value.__sklearn_is_fitted__():
            write_booster(path, None, facts)
            return Written("lightgbm")
        facts["learned"] = {name: getattr(value, name) for name in _LEARNED if hasattr(value, name)}
        facts["classes"] = labels_to_json(value._classes)
        write_booster(path, value.booster_.model_to_string(num_iteration=-1).encode(), facts)
        return Written("lightgbm")

    def read(self, path: Path, form: Any) -> Any:
        model, facts = read_booster(path, "LightGBM", {"Booster", *_CLASSES})
        booster = lightgbm.Booster(model_str=model.decode()) if model is not None else None
        if facts["class"] == "Booster":
            assert booster is not None
            booster.best_iteration = facts["best_iteration"]
            return booster
        kind = _CLASSES[facts["class"]]
        assert kind is not None
        value = kind(**facts["params"])
        if booster is None:
            return value
        for name in _LEARNED:
            if name in facts["learned"]:
                setattr(value, name, facts["learned"][name])
        booster.best_iteration = value._best_iteration
        value._Booster = booster
        classes = labels_from_json(facts["classes"])
        if classes is not None:
            value._classes = classes
            value._le = lightgbm.compat._LGBMLabelEncoder().fit(classes)
            value._class_map = dict(zip(classes, range(len(classes)), strict=True))
        value.fitted_ = True
        return value


CODEC = LightGBMCodec()

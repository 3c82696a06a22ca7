"""Models of XGBoost in its own binary JSON, with what their scikit-learn wrapper knows beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xgboost

from drivetrain.errors import Unkeepable
from drivetrain.store.codecs.booster import read_booster, write_booster
from drivetrain.store.codecs.codec import Written

if TYPE_CHECKING:
    from pathlib import Path

_CLASSES = {
    name: getattr(xgboost, name)
    for name in ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor")
}


class XGBoostCodec:
    """Keeps Booster and the scikit-learn wrappers. Class labels are 0, 1, …: XGBoost knows no others."""

    formats = frozenset({"xgboost"})
    shares = False

    def write(self, value: Any, path: Path) -> Written:
        kind = type(value)
        if kind is xgboost.Booster:
            write_booster(path, bytes(value.save_raw("ubj")), {"class": "Booster"})
            return Written("xgboost")
        if kind not in _CLASSES.values():
            raise Unkeepable(
                found=f"a {kind.__module__}.{kind.__qualname__}", right=f"return a Booster, {', '.join(_CLASSES)}"
            )
        facts = {"class": kind.__name__, "params": value.get_params(deep=False)}
        model = None
        if value.__sklearn_is_fitted__():
            model = bytes(value.get_booster().save_raw("ubj"))
            facts["evals_result"] = getattr(value, "evals_result_", None)
        write_booster(path, model, facts)
        return Written("xgboost")

    def read(self, path: Path, form: Any) -> Any:
        model, facts = read_booster(path, "XGBoost", {"Booster", *_CLASSES})
        if facts["class"] == "Booster":
            booster = xgboost.Booster()
            booster.load_model(bytearray(model or b""))
            return booster
        value = _CLASSES[facts["class"]](**facts["params"])
        if model is not None:
            value.load_model(bytearray(model))
            # Loading sets some parameters from what training made of them; these are as the user gave them.
            value.set_params(**facts["params"])
            if facts["evals_result"] is not None:
                value.evals_result_ = facts["evals_result"]
        return value


CODEC = XGBoostCodec()

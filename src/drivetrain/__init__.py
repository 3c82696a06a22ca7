"""Drivetrain: one file of plain functions becomes a whole machine-learning system.

Every name is loaded when it is first used: importing the package costs a few milliseconds and starts nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivetrain.data.checks import between, check, fresh, matches, not_null, one_of, row_count, unique
    from drivetrain.data.dataset import dataset
    from drivetrain.data.features import features
    from drivetrain.data.kinds.image import Image, Images
    from drivetrain.data.kinds.tensor import Tensor
    from drivetrain.data.source import read
    from drivetrain.data.split import split
    from drivetrain.errors import CallFailed, GiveUp, TryAgain
    from drivetrain.load.loadtest import LoadTest
    from drivetrain.monitoring.monitor import Drift, Monitor
    from drivetrain.monitoring.trigger import Trigger, cron, now
    from drivetrain.pipeline.approval import Approval
    from drivetrain.pipeline.log import attach, log
    from drivetrain.pipeline.track import track
    from drivetrain.registry.gate import Gate
    from drivetrain.serving.batch.predict import predict
    from drivetrain.serving.cache.terms import Cache
    from drivetrain.serving.calls.callee import calls
    from drivetrain.serving.jobs.terms import Jobs
    from drivetrain.serving.service import Canary, Service
    from drivetrain.system.conduct import Retry
    from drivetrain.system.function import step
    from drivetrain.system.periods import daily, hourly, monthly, weekly
    from drivetrain.system.system import System
    from drivetrain.training import metrics
    from drivetrain.training.custom import predictor
    from drivetrain.training.evaluation import champion, evaluation, reference
    from drivetrain.training.frame import xy
    from drivetrain.training.model import model
    from drivetrain.training.network import onnx, torch
    from drivetrain.training.remote import Remote

__version__ = "0.1.0"

_HOMES = {
    "Approval": "pipeline.approval",
    "Cache": "serving.cache.terms",
    "CallFailed": "errors",
    "Canary": "serving.service",
    "Drift": "monitoring.monitor",
    "Gate": "registry.gate",
    "GiveUp": "errors",
    "Jobs": "serving.jobs.terms",
    "LoadTest": "load.loadtest",
    "Image": "data.kinds.image",
    "Images": "data.kinds.image",
    "Monitor": "monitoring.monitor",
    "Remote": "training.remote",
    "Retry": "system.conduct",
    "Service": "serving.service",
    "System": "system.system",
    "Tensor": "data.kinds.tensor",
    "Trigger": "monitoring.trigger",
    "TryAgain": "errors",
    "attach": "pipeline.log",
    "between": "data.checks",
    "calls": "serving.calls.callee",
    "champion": "training.evaluation",
    "check": "data.checks",
    "cron": "monitoring.trigger",
    "daily": "system.periods",
    "dataset": "data.dataset",
    "evaluation": "training.evaluation",
    "features": "data.features",
    "fresh": "data.checks",
    "hourly": "system.periods",
    "log": "pipeline.log",
    "matches": "data.checks",
    "metrics": "training.metrics",
    "model": "training.model",
    "monthly": "system.periods",
    "not_null": "data.checks",
    "now": "monitoring.trigger",
    "one_of": "data.checks",
    "onnx": "training.network",
    "predict": "serving.batch.predict",
    "predictor": "training.custom",
    "read": "data.source",
    "reference": "training.evaluation",
    "row_count": "data.checks",
    "split": "data.split",
    "step": "system.function",
    "torch": "training.network",
    "track": "pipeline.track",
    "unique": "data.checks",
    "weekly": "system.periods",
    "xy": "training.frame",
}

__all__ = [
    "Approval", "Cache", "CallFailed", "Canary", "Drift", "Gate", "GiveUp", "Image", "Images", "Jobs", "LoadTest",
    "Monitor", "Remote", "Retry", "Service", "System", "Tensor", "Trigger", "TryAgain", "attach", "between", "calls",
    "champion", "check", "cron", "daily", "dataset", "evaluation", "features", "fresh", "hourly", "log", "matches",
    "metrics", "model", "monthly", "not_null", "now", "one_of", "onnx", "predict", "predictor", "read", "reference",
    "row_count", "split", "step", "torch", "track", "unique", "weekly", "xy",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'drivetrain' has no attribute {name!r}")
    module = import_module(f"drivetrain.{home}")
    value = module if home.endswith(f".{name}") and not hasattr(module, name) else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

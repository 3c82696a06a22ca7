"""Predictions of torch modules: all features as one tensor, (rows, features), float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import polars as pl

    from drivetrain.training.signature import Task


def predict(module: Any, x: pl.DataFrame, task: Task) -> Any:
    """Return what a module answers to rows of features; a missing number comes in as a NaN.

    A classifier is taken to give logits unless its last layer is a Sigmoid or Softmax: one column, or one a class.
    """
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        found = module(torch.from_numpy(x.to_numpy().astype("float32")))  # (rows,) or (rows, 1) or (rows, classes)
    module.train(was_training)
    if task != "regression":
        last = list(module.modules())[-1]
        is_one = found.ndim == 1 or found.shape[1] == 1
        if not isinstance(last, (torch.nn.Sigmoid, torch.nn.Softmax)):
            found = torch.sigmoid(found) if is_one else torch.softmax(found, dim=1)
    return found.reshape(-1).numpy() if found.ndim == 2 and found.shape[1] == 1 else found.numpy()
